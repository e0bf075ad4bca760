"""The driver's files as a node without its disk sees them."""

import pytest

from autoseg.core.errors import DeviceError
from autoseg.pools.ray.connect import Connection
from autoseg.pools.ray.files import RemoteStorage, files_actor
from autoseg.pools.ray.layout import Wanted
from autoseg.train.storage import FolderStorage

pytestmark = pytest.mark.ray


def test_remote_storage_tells_faults_of_the_disk_and_of_the_machine_apart(cluster, task, request):
    import ray

    connection = Connection(cluster.address, task, Wanted())
    request.addfinalizer(connection.close)
    actor = files_actor(task)
    storage = RemoteStorage(actor)
    storage.write("x", b"1")
    assert storage.read("x") == b"1"
    assert isinstance(task.checkpoints, FolderStorage)
    (task.checkpoints.folder / "x").unlink()
    task.checkpoints.folder.rename(task.checkpoints.folder.with_name("gone"))
    with pytest.raises(FileNotFoundError):
        storage.read("x")
    ray.kill(actor)
    with pytest.raises(DeviceError, match="--resume"):
        storage.read("x")
