"""Every setting of the operator: the variable `TUBEHERD_OPERATOR_` and its name."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from tubeherd.configuration import Settings
from tubeherd.declarations import Unset
from tubeherd.settings import Listener, Server, comma_list, comma_list_or_none
from tubeherd_operator.allowed_servers import check_allowed

NamespaceName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class OperatorSettings(Settings):
    """What an installation of the operator is given; times in seconds."""

    prefix: ClassVar[str] = "TUBEHERD_OPERATOR_"

    default_image: Annotated[str, Field(min_length=1, description="Image of the pools that name none.")]
    default_server: Annotated[
        Server | None,
        Field(description="host:port of beanstalkd for the pools that name none."),
        Unset("none, each pool names its own"),
    ] = None
    allowed_servers: Annotated[
        tuple[Annotated[str, AfterValidator(check_allowed)], ...] | None,
        BeforeValidator(comma_list_or_none),
        Field(
            description="The only servers that pools may name, with commas between them: host:port, or "
            "*.domain:port for each host of a domain; none allows only the default server."
        ),
        Unset("all"),
    ] = None
    fixed_user: Annotated[
        bool,
        Field(description="Whether pods of pools run as user and group 65532, or as the cluster chooses."),
    ] = True
    watch_namespaces: Annotated[
        tuple[NamespaceName, ...],
        BeforeValidator(comma_list),
        Field(description="Namespaces whose pools are looked after, with commas between them."),
        Unset("all namespaces"),
    ] = ()
    watch_config_maps: Annotated[
        bool,
        Field(
            description="Whether to watch the ConfigMaps that pools name, or to ask for each once a minute: names and "
            "versions alone, but the right to watch is one to read all."
        ),
    ] = True
    poll_interval: Annotated[
        float,
        Field(gt=0, description="After how many seconds to look again whether anything has happened in a beanstalkd."),
    ] = 0.25
    lease: Annotated[
        str | None,
        Field(
            pattern=r"^[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}$",
            description="namespace/name of the Lease by which several operators elect the one that acts.",
        ),
        Unset("none, this operator is alone"),
    ] = None
    health: Annotated[Listener, Field(description="Where to serve /healthz, /readyz and /metrics.")] = "0.0.0.0:8080"
