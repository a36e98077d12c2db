"""Each row of the verdict table, seen from outside: a real worker and a real beanstalkd."""


def test_job_that_returned_is_deleted(beanstalkd, run_worker):
    client = beanstalkd.client()
    job = client.put_in("mail", b'{"n": 1}', priority=5, delay=0, ttr=60)
    worker = run_worker(
        beanstalkd.server,
        """
        from tubeherd import executor
        @executor("mail")
        def mail(payload): return False
        """,
    )
    worker.wait_for_line("deleted", job=job, tube="mail")
    assert beanstalkd.count("mail") == {"ready": 0, "reserved": 0, "delayed": 0, "buried": 0}
    assert worker.stop() == 0
