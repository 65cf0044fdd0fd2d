"""What each role is told."""

from __future__ import annotations

from infra.supervisor.plan import Plan
from infra.supervisor.results import Ports
from infra.supervisor.roles import MODULES


def test_only_roles_that_use_the_database_get_its_password() -> None:
    plan = Plan(
        url="http://127.0.0.1:1",
        ports=Ports(api=1, kafka=None, postgres=None),
        kafka=None,
        postgres=None,
        modules=MODULES,
        environment={"HERMES_HOME": "/nowhere", "HERMES_DATABASE": "postgresql://a:secret@b/c"},
    )
    told = {role.name for role in plan.roles() if "secret" in str(dict(role.environment))}
    assert told == {"api", "projector"}
