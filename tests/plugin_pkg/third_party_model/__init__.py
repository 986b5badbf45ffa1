"""A third party's adapter, installed like any package; it imports nothing of radialog but two names."""

from radialog_bench import Adapter, Response


class ThirdParty(Adapter):
    name = "third-party"
    needs_images = False

    def __init__(self, answer: str = "The lungs are clear.") -> None:
        self.answer = answer

    def generate(self, requests):
        return [Response(request.id, self.answer) for request in requests]
