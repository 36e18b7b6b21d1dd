"""A server that says whatever it is told to, for the tests of the proxy. Standard library only; starts at once.

`tools/call` of "say" writes its argument `text` out as it is, after `padding` letters; "echo" gives its arguments back; "spawn"
leaves a child in another session; "silent" never answers; "deaf" stops reading. Every listing describes "echo" in a new way.
What reaches the server is noted in a file.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

notes = Path(sys.argv[1])
listings = 0
for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params") or {}
    with notes.open("a") as file:
        file.write(line)
    result: dict = {}
    if method == "tools/list":
        listings += 1
        result = {"tools": [{"name": "echo", "description": f"version {listings}"}, {"name": "say"}, {"no": "name"}]}
    elif params.get("name") == "say":
        sys.stdout.write("x" * params["arguments"].get("padding", 0) + params["arguments"]["text"] + "\n")
        sys.stdout.flush()
        continue
    elif params.get("name") == "deaf":
        os.close(0)
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}) + "\n")
        sys.stdout.flush()
        threading.Event().wait()
    elif params.get("name") == "spawn":
        nap = [sys.executable, "-c", "import threading; threading.Event().wait()"]
        child = subprocess.Popen(nap, start_new_session=True)
        result = {"content": [{"type": "text", "text": str(child.pid)}]}
    elif params.get("name") == "echo":
        result = {"content": [], "structuredContent": params["arguments"]}
    if "id" in message and method is not None and params.get("name") != "silent":
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
        sys.stdout.flush()
