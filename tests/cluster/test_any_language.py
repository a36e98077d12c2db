"""Tubes whose jobs a command or a server does, as a pool declares them."""


def test_command_and_url_of_a_pool_do_the_jobs_of_their_tubes(namespace, queue, eventually):
    namespace.make_pool(
        "mail",
        ["done", "refused", "web"],
        replicas=1,
        retry={"delays": ["1s"]},
        command={"done": "sh -c 'cat > /dev/null'", "refused": "sh -c 'echo no such address >&2; exit 100'"},
        http={"web": "http://127.0.0.1:9/jobs"},
    )
    namespace.wait_ready("mail")
    for tube in ("done", "refused", "web"):
        queue.put(tube, 2)
    eventually(lambda: queue.count("done") == (0, 0, 0, 0), "the command has done its jobs", 30)
    eventually(lambda: queue.count("refused") == (0, 0, 0, 2), "what it rejected is buried", 30)
    eventually(lambda: queue.count("web") == (0, 0, 0, 2), "the jobs that no server takes are buried", 30)
    (pod,) = namespace.find("pods", "tubeherd.io/pool=mail")
    why = namespace.kubectl("exec", pod["metadata"]["name"], "--", "tubeherd", "why").stdout
    assert "rejected" in why
    assert "127.0.0.1:9" in why


def test_command_or_url_of_a_tube_that_the_pool_has_not_is_refused(namespace):
    for spec, reason in (
        ({"command": {"other": "true"}}, "each tube of command must be among tubes"),
        ({"http": {"other": "http://a/"}}, "each tube of http must be among tubes"),
        ({"command": {"a": "true"}, "http": {"a": "http://a/"}}, "a tube has either a command or a URL in http"),
        ({"command": {"a": "echo 'open"}}, "spec.command.a"),
        ({"http": {"a": "ftp://a/"}}, "spec.http.a"),
    ):
        pool = namespace.pool_object("mail", {"tubes": ["a"], "server": "b:11300", **spec})
        refused = namespace.refusal(pool)
        assert reason in refused, spec
