"""The beanstalkd of tests on one's own cluster, tried on the home-built node too so that it works when it is needed."""

import pytest

from tests.support.cluster_queue import PodQueue


@pytest.fixture
def pod_queue(kubectl, image):
    queue = PodQueue(kubectl, image("beanstalkd"))
    yield queue
    queue.close()


def test_beanstalkd_in_a_pod_is_reached_by_test_worker_and_operator(namespace, pod_queue, eventually):
    pod_queue.bury("ok", 2)
    namespace.make_pool("mail", ["ok"], server=pod_queue.server, replicas=1)
    namespace.wait_ready("mail")
    pod_queue.put("ok", 3)
    eventually(lambda: pod_queue.count("ok") == (0, 0, 0, 2), "the jobs ran")
    eventually(lambda: namespace.status("mail")["buried"] == 2, "the operator counts", 10)


def test_beanstalkd_in_a_pod_goes_and_comes_back_empty_at_the_same_address(namespace, pod_queue, eventually):
    namespace.make_pool("mail", ["ok"], server=pod_queue.server, replicas=0)
    pod_queue.bury("ok", 1)
    eventually(lambda: namespace.status("mail")["buried"] == 1, "the operator counts", 20)
    pod_queue.stop()
    eventually(lambda: namespace.condition("mail", "ServerReachable")["status"] == "False", "it is missed", 30)
    pod_queue.start()
    assert pod_queue.count("ok") == (0, 0, 0, 0)
    eventually(lambda: namespace.status("mail")["buried"] == 0, "the operator counts again", 30)
