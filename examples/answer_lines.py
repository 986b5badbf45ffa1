"""A program for `script:`: it reads one request a line and writes one answer a line. Put your model into `answer`.

radialog-bench run --model "script:/path/to/your/env/bin/python examples/answer_lines.py"

It needs nothing of radialog, so it can run in the old environment that a published model is pinned to.
"""

import json
import sys


def answer(question, image_paths):
    return "PA" if "view" in question else f"The lungs are clear ({len(image_paths)} image)."


for line in sys.stdin:
    request = json.loads(line)
    try:
        text = answer(request["messages"][-1]["content"], [image["path"] for image in request["images"]])
        reply = {"id": request["id"], "text": text}
    except OSError as error:  # for example an image that cannot be read
        reply = {"id": request["id"], "error": repr(error)}
    print(json.dumps(reply), flush=True)
