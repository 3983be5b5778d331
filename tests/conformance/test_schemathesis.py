"""Sends requests generated from the OpenAPI document: no server errors, no hangs, no undocumented responses."""

import os

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance, content_type_conformance

schema = schemathesis.openapi.from_url(f"http://{os.environ['PLIMSOLL_ADDRESS']}/openapi.json")

# Operations that change the server are excluded, because all requests go to the same server.
READ_ONLY = schema.exclude(path_regex="(rollback|/load|/unload)$").exclude(method=["PUT", "DELETE"])


@READ_ONLY.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_server_error(case):
    # Without the token, most routes of administration and reports would only be asked for their 401.
    headers = {"Authorization": f"Bearer {os.environ['PLIMSOLL_ADMIN_TOKEN']}"}
    response = case.call(timeout=30, headers=headers)
    case.validate_response(response, checks=[not_a_server_error, status_code_conformance, content_type_conformance])
