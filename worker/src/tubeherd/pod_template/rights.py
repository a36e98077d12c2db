"""The rights of a pod and of its containers: no more than the level `restricted` of Kubernetes gives."""

from typing import Annotated, Any, Final

from pydantic import Field

from tubeherd.pod_template.marks import Never, Only, Open

RESTRICTED: Final = "pods of a pool keep to the level `restricted` of Kubernetes"
_SYSCTLS: Final = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
)
_SELINUX_TYPES: Final = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")

_Word = Annotated[str, Field(max_length=64)]
_Words = Annotated[list[_Word], Field(max_length=50)]
_NonRoot = Annotated[bool, Only((True,), "pods of a pool never run as root")]
_User = Annotated[int, Never((0,), "pods of a pool never run as root: choose another user")]
_ProfileType = Annotated[_Word, Only(("RuntimeDefault", "Localhost"), RESTRICTED)]
_SELinuxType = Annotated[_Word, Only(_SELINUX_TYPES, RESTRICTED)]
_Unset = Annotated[_Word, Only(("",), RESTRICTED)]
_NoWindows = Annotated[dict[str, Any], Only((), "workers run on Linux")]
_NoCapabilities = Annotated[_Words, Only(([],), "no container of a pool gets capabilities")]
_AllCapabilities = Annotated[_Words, Only((["ALL"],), "each container of a pool drops all capabilities")]
_NotPrivileged = Annotated[bool, Only((False,), "no container of a pool is privileged")]
_NoMoreRights = Annotated[bool, Only((False,), "no process of a pool's pods gets more rights than its parent has")]
_ReadOnly = Annotated[
    bool, Only((True,), "root file systems of a pool's pods are read-only: mount an emptyDir to write to")
]
_DefaultProc = Annotated[_Word, Only(("Default",), RESTRICTED)]
_SysctlName = Annotated[str, Field(max_length=253), Only(_SYSCTLS, f"{RESTRICTED}, which has safe sysctls alone")]


class _Profile(Open):
    type: _ProfileType | None = None


class _SELinux(Open):
    type: _SELinuxType | None = None
    user: _Unset | None = None
    role: _Unset | None = None


class _Capabilities(Open):
    add: _NoCapabilities | None = None
    drop: _AllCapabilities | None = None


class _Sysctl(Open):
    name: _SysctlName


class _Rights(Open):
    run_as_non_root: _NonRoot | None = None
    run_as_user: _User | None = None
    seccomp_profile: _Profile | None = Field(None, description="RuntimeDefault unless you name your own.")
    app_armor_profile: _Profile | None = Field(None, description="AppArmor profile, as in a pod.")
    se_linux_options: _SELinux | None = Field(None, description="SELinux context, as in a pod.")
    windows_options: _NoWindows | None = None


class PodRights(_Rights):
    """The rights of a pod."""

    sysctls: list[_Sysctl] | None = Field(None, max_length=50, description="Kernel settings of the pod.")


class ContainerRights(_Rights):
    """The rights of a container."""

    privileged: _NotPrivileged | None = None
    allow_privilege_escalation: _NoMoreRights | None = None
    read_only_root_filesystem: _ReadOnly | None = None
    capabilities: _Capabilities | None = Field(None, description="All are dropped, and none can be added.")
    proc_mount: _DefaultProc | None = None
