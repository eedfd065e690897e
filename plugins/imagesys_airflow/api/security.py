"""Who may see the dashboard, who may change something with it, and that nobody is made to by a forged request."""

from __future__ import annotations

from typing import Annotated

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag, requires_access_view
from airflow.configuration import conf
from fastapi import Depends, HTTPException, Request
from itsdangerous import BadData, URLSafeTimedSerializer

FORGERY_HEADER = "X-ImageSys-Token"
"""Where a script's POST has the token; a form has it in its field ``token``."""

_HOURS = 12


def forgery_token(user: GetUserDep) -> str:
    """Return the token that this user's forms carry for some hours. As a dependency it is given to a page."""
    return _serializer().dumps(_name(user))


async def refuse_forged(request: Request, user: GetUserDep) -> None:
    """Answer 403 unless the request carries a token that a page of ours has given to this very user."""
    token = request.headers.get(FORGERY_HEADER) or (await request.form()).get("token")
    try:
        known = _serializer().loads(str(token or ""), max_age=_HOURS * 3600)
    except BadData:
        known = None
    if known is None or known != _name(user):
        raise HTTPException(403, "This form is not of your session, or too old: open its page anew.")


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(conf.get_mandatory_value("api", "secret_key"), salt="imagesys dashboard")


def _name(user: GetUserDep) -> str:
    return str(user.get_id())


READS = [Depends(requires_access_view(AccessView.PLUGINS))]
"""Every page: a logged-in user with the right to the plugin."""

CHANGES = [Depends(requires_access_dag(method="PUT")), Depends(refuse_forged)]
"""What changes anything, besides: its path has ``{dag_id}``, which the user may edit, and it is a POST with a token."""

Token = Annotated[str, Depends(forgery_token)]
