"""The volumes of a pool's pods: those that the level `restricted` of Kubernetes has, beside the worker's own."""

from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from tubeherd.pod_template.containers import TMP, Name
from tubeherd.pod_template.marks import Never, Only, Open, refused, unique
from tubeherd.pod_template.rights import RESTRICTED

TMP_WHY: Final = "the volume tmp is the worker's emptyDir: only its sizeLimit and medium can be set"
_EXECUTORS_WHY: Final = "the volume executors is the operator's: choose another name, or use spec.executors"

_VolumeName = Annotated[Name, Never(("executors",), _EXECUTORS_WHY)]
_Other = Annotated[dict[str, Any], Only((), f"{RESTRICTED}, which has no such volumes: use a PersistentVolumeClaim")]
_HostPath = Annotated[dict[str, Any], Only((), f"{RESTRICTED}, in which no pod sees the files of its node")]


class _EmptyDir(Open):
    pass


class Volume(Open):
    """A volume of a pool's pods, as in a pod."""

    name: _VolumeName = Field(description="Name of the volume. Of the worker's `tmp` sizeLimit and medium can be set.")
    empty_dir: _EmptyDir | None = Field(None, description="A folder that lives as long as the pod, as in a pod.")
    host_path: _HostPath | None = None
    aws_elastic_block_store: _Other | None = None
    azure_disk: _Other | None = None
    azure_file: _Other | None = None
    cephfs: _Other | None = None
    cinder: _Other | None = None
    fc: _Other | None = None
    flex_volume: _Other | None = None
    flocker: _Other | None = None
    gce_persistent_disk: _Other | None = None
    git_repo: _Other | None = None
    glusterfs: _Other | None = None
    iscsi: _Other | None = None
    nfs: _Other | None = None
    photon_persistent_disk: _Other | None = None
    portworx_volume: _Other | None = None
    quobyte: _Other | None = None
    rbd: _Other | None = None
    scale_io: _Other | None = Field(None, alias="scaleIO")
    storageos: _Other | None = None
    vsphere_volume: _Other | None = None

    @model_validator(mode="after")
    def _check_tmp(self) -> "Volume":
        if self.name == TMP and (self.empty_dir is None or self.model_extra):
            raise refused(("name",), TMP_WHY)
        return self


Volumes = Annotated[list[Volume], Field(max_length=50), unique("name")]
