"""What a gateway does, as an addon for mitmdump: the same rules, the same credential, the same redaction.

Runs in mitmproxy's own environment; `BB_BENCH_RULES` is a JSON object: host, methods, path, token, port of the server.
"""

import json
import os

from mitmproxy import http

RULES = json.loads(os.environ["BB_BENCH_RULES"])


class Rules:
    def http_connect(self, flow: http.HTTPFlow) -> None:
        if flow.request.host != RULES["host"] or flow.request.port != RULES["port"]:
            flow.response = http.Response.make(403)

    def request(self, flow: http.HTTPFlow) -> None:
        request = flow.request
        allowed = request.pretty_host == RULES["host"] and request.method in RULES["methods"]
        if not allowed or not request.path.startswith(RULES["path"]):
            flow.response = http.Response.make(403)
            return
        request.headers["Authorization"] = f"Bearer {RULES['token']}"
        request.headers["Accept-Encoding"] = "identity"

    def response(self, flow: http.HTTPFlow) -> None:
        if flow.response and flow.response.content and RULES["token"].encode() in flow.response.content:
            flow.response.content = flow.response.content.replace(RULES["token"].encode(), b"*")


addons = [Rules()]
