from radialog_bench import Response


class MyModel:
    """Ten lines make a model measurable; replace the answers with your model's."""

    name = "my-model"

    def generate(self, requests):
        for request in requests:
            question, image = request.messages[-1].content, request.images[0].path
            yield Response(request.id, f"PA ({image.stem})" if "view" in question else "The lungs are clear.")
