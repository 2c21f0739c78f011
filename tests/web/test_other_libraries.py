"""
Other people's libraries and ours: what they sign we accept over a real socket, and what
we sign, as a provider or as a sender of our own, they accept.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping

import httpx
import openai
import pytest
import pytest_asyncio
import stripe
import svix.webhooks
from gidgethub import sansio
from replicate.webhook import Webhooks, WebhookSigningSecret
from sophon_sdk.helpers.webhooks import WebhookSignatureError, verify_webhook_signature
from standardwebhooks.webhooks import Webhook

from receiver import clock
from receiver.providers.samples import samples
from receiver.providers.sending import outgoing
from tests.making import provider
from tests.serving import Serving, serving

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TEXT = "a secret that is a text"
SECRETS = {
    "standard": WHSEC,
    "openai": WHSEC,
    "replicate": WHSEC,
    "stripe": TEXT,
    "github": TEXT,
    "sophon": TEXT,
}
CONFIG = (
    '[server]\nport = 0\n[store]\nurl = "sqlite:///receiver.db"\nmin_free_bytes = 0\n'
    + (
        "\n".join(
            f'[sources.{name}]\nprovider = "{name}"\nsecrets = ["{secret}"]'
            for name, secret in SECRETS.items()
        )
    )
)

Sign = Callable[[bytes], Mapping[str, str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serving]:
    folder = tmp_path_factory.mktemp("libraries")
    async with serving(folder, CONFIG) as running:
        yield running


def sample(name: str) -> bytes:
    return next(iter(samples(name, "subject", clock.now()).values())).body


# -- they sign


def by_standardwebhooks(body: bytes) -> Mapping[str, str]:
    now = clock.now()
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(WHSEC).sign("msg_1", now, body.decode()),
    }


def by_svix(body: bytes) -> Mapping[str, str]:
    now = clock.now()
    return {
        "svix-id": "msg_2",
        "svix-timestamp": str(int(now.timestamp())),
        "svix-signature": svix.webhooks.Webhook(WHSEC).sign(
            "msg_2", now, body.decode()
        ),
    }


def by_stripe(body: bytes) -> Mapping[str, str]:
    now = int(clock.now().timestamp())
    made = stripe.WebhookSignature._compute_signature(f"{now}.{body.decode()}", TEXT)
    return {"stripe-signature": f"t={now},v1={made},v0=00"}


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("standard", by_standardwebhooks),
        ("standard", by_svix),
        ("openai", by_standardwebhooks),
        ("replicate", by_standardwebhooks),
        ("replicate", by_svix),
        ("stripe", by_stripe),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_they_sign_is_accepted_and_damaged_it_is_not(
    server: Serving, name: str, sign: Sign
):
    body = sample(name).replace(b"subject", f"subject-{sign.__name__}".encode())
    headers = dict(sign(body))
    path = f"{server.url}/webhooks/{name}"
    async with httpx.AsyncClient() as client:
        answer = await client.post(path, content=body, headers=headers)
        forged = await client.post(path, content=body + b" ", headers=headers)

    assert (answer.status_code, answer.json()["status"]) == (200, "accepted")
    assert (forged.status_code, forged.json()["error"]["code"]) == (
        401,
        "signature_mismatch",
    )


# -- they verify what we send as a provider


def standardwebhooks_accepts(body: bytes, headers: dict[str, str]) -> None:
    Webhook(WHSEC).verify(body, headers)


def svix_accepts(body: bytes, headers: dict[str, str]) -> None:
    svix.webhooks.Webhook(WHSEC).verify(body, headers)


def openai_accepts(body: bytes, headers: dict[str, str]) -> None:
    client = openai.OpenAI(api_key="x", webhook_secret=WHSEC)
    client.webhooks.verify_signature(body, headers)


def replicate_accepts(body: bytes, headers: dict[str, str]) -> None:
    secret = WebhookSigningSecret(key=WHSEC)
    Webhooks.validate(headers=headers, body=body.decode(), secret=secret, tolerance=300)


def stripe_accepts(body: bytes, headers: dict[str, str]) -> None:
    stripe.WebhookSignature.verify_header(
        body.decode(), headers["stripe-signature"], TEXT, tolerance=300
    )


def gidgethub_accepts(body: bytes, headers: dict[str, str]) -> None:
    sansio.Event.from_http(headers, body, secret=TEXT)


def sophon_accepts(body: bytes, headers: dict[str, str]) -> None:
    verify_webhook_signature(
        body, headers["x-turbo-signature-256"], headers["x-turbo-timestamp"], TEXT
    )


@pytest.mark.parametrize(
    ("name", "accepts"),
    [
        ("standard", standardwebhooks_accepts),
        ("standard", svix_accepts),
        ("openai", openai_accepts),
        ("replicate", replicate_accepts),
        ("stripe", stripe_accepts),
        ("github", gidgethub_accepts),
        ("sophon", sophon_accepts),
    ],
)
def test_what_we_send_as_a_provider_is_what_its_own_library_accepts(
    name: str, accepts: Callable[[bytes, dict[str, str]], None]
):
    for one in samples(name, "subject", clock.now()).values():
        sender = provider(name, SECRETS[name])
        sent = outgoing(sender, one.body, clock.now(), headers=one.headers)
        forged = json.dumps({"forged": True}).encode()

        accepts(sent.body, dict(sent.headers))

        with pytest.raises((Exception, WebhookSignatureError)):
            accepts(forged, dict(sent.headers))
