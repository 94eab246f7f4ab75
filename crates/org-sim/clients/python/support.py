"""Where the simulated org is, and how simple-salesforce, unchanged, reaches it.

simple-salesforce writes `https://` and, to log in, `login.salesforce.com` into every address. The adapter is what a
name server and a TLS proxy would be: it sends these requests to the org's own plain address.
"""

import itertools
import os
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce

URL = os.environ["ORG_URL"]
CLIENT_ID = os.environ["ORG_CLIENT_ID"]
CLIENT_SECRET = os.environ["ORG_CLIENT_SECRET"]
USERNAME = os.environ["ORG_USERNAME"]
PASSWORD = os.environ["ORG_PASSWORD"]
VERSION = "62.0"


class ToOrg(HTTPAdapter):
    """Sends every request to the org."""

    def send(self, request, **options):
        address = urlsplit(request.url)
        path = address.path + (f"?{address.query}" if address.query else "")
        request.url = URL + path
        return super().send(request, **options)


def session():
    """A session of `requests` whose every address is the org."""
    made = requests.Session()
    made.mount("https://", ToOrg())
    return made


def log_in():
    """simple-salesforce's usual way in: username, password and security token by SOAP."""
    return Salesforce(
        username=USERNAME, password=PASSWORD, security_token="", version=VERSION, session=session()
    )


_numbers = itertools.count(1)


def key(prefix):
    """A text that no other test uses."""
    return f"py-{prefix}-{os.getpid()}-{next(_numbers)}"


def create_many(sf, records):
    """Creates records by Collections, and insists that each was created."""
    ids = []
    for start in range(0, len(records), 200):
        body = {"allOrNone": True, "records": records[start : start + 200]}
        results = sf.restful("composite/sobjects", method="POST", json=body)
        assert all(result["success"] for result in results), results
        ids += [result["id"] for result in results]
    return ids


def control(path, body=None):
    """A control request of the simulated org."""
    answer = requests.post(f"{URL}/_sim/{path}", json=body or {}, timeout=30)
    answer.raise_for_status()
    return answer.json()
