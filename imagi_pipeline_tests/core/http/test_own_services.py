from pathlib import Path

import pytest

from imagi_pipeline.core.http.own_services import own_session
from imagi_pipeline.gateway.dagster_client import DagsterClient, DagsterUnreachableError
from imagi_pipeline.gateway.gateway_client import GatewayClient, GatewayError
from imagi_pipeline_tests.callback_receiver import CallbackReceiver


@pytest.fixture
def _steering_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


@pytest.mark.usefixtures("_steering_environment")
def test_no_proxy_and_no_password_of_the_environment_is_used() -> None:
    with CallbackReceiver() as receiver, own_session() as session:
        session.headers["Authorization"] = "Bearer mine"
        assert session.post(receiver.url(), b"{}").ok
        assert receiver.messages[0].headers["authorization"] == "Bearer mine"


@pytest.mark.usefixtures("_steering_environment")
def test_the_gateway_asks_dagster_itself_and_imagi_submit_the_gateway() -> None:
    with CallbackReceiver() as receiver:
        with pytest.raises(DagsterUnreachableError):  # it answers, though not as Dagster does
            DagsterClient(receiver.url("")).request_status("x")
        with pytest.raises((GatewayError, ValueError)):
            GatewayClient(receiver.url(""), "token-of-the-caller").status("x")
        to_dagster, to_gateway = receiver.messages
    assert "authorization" not in to_dagster.headers
    assert to_gateway.headers["authorization"] == "Bearer token-of-the-caller"


def test_a_bundle_of_certificates_named_for_requests_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/company.pem")
    assert own_session().verify == "/etc/company.pem"
