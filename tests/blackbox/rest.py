"""The HTTP interfaces over sockets, for the black-box suite."""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import quote

from tests.blackbox.wire import WAIT_S, trusting


@dataclass
class Answer:
    """One HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["responseCode"]

    def values(self):
        """What a resolution gave, by index."""
        return {each["index"]: each["data"]["value"] for each in self.json["values"]}


class Rest:
    """Requests to the server under test, a connection each."""

    def __init__(self, target) -> None:
        self.target = target

    def ask(self, method, path, body=None, *, tls=False, headers=None, user=None, context=None):
        """user: (identity text, secret) for Basic."""
        headers = dict(headers or {})
        if user is not None:
            name = quote(user[0], safe="/").encode()
            headers["Authorization"] = "Basic " + b64encode(name + b":" + user[1]).decode()
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        host = self.target.host
        if tls:
            connection = http.client.HTTPSConnection(
                host, self.target.https, timeout=WAIT_S, context=context or trusting()
            )
        else:
            connection = http.client.HTTPConnection(host, self.target.http, timeout=WAIT_S)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def admin(self, method, path, body=None, **more):
        """Over TLS as the administrator by secret."""
        who = (f"301:0.NA/{self.target.prefix}", self.target.secret)
        return self.ask(method, path, body, tls=True, user=who, **more)

    def put(self, name, *values, query=""):
        return self.admin("PUT", f"/api/handles/{name}{query}", list(values))


def value(index, type_, data, **more):
    return {"index": index, "type": type_, "data": data, **more}
