"""Jobs that beanstalkd damaged: killed while it moves a job in its binlog, it keeps the job with a body of zeros."""

from tests.support.beanstalkd import NOTHING


def test_job_whose_body_was_lost_is_buried_and_holds_up_no_other(beanstalkd, run_worker, tmp_path):
    bodies = [b'"first"', b'"damaged"', b'"last"']
    jobs = [beanstalkd.put("mail", body) for body in bodies]
    beanstalkd.kill()
    (binlog,) = (tmp_path / "binlog").glob("binlog.*")
    stored = b'"damaged"\r\n'
    assert binlog.read_bytes().count(stored) == 1
    binlog.chmod(0o600)
    binlog.write_bytes(binlog.read_bytes().replace(stored, bytes(len(stored))))
    beanstalkd.start()
    worker = run_worker(
        beanstalkd.server,
        """
        from traces import note
        from tubeherd import executor
        @executor("mail")
        def mail(payload: bytes): note(payload.decode())
        """,
    )
    worker.wait_for_notes('"first"', '"last"')
    worker.wait_for_line("buried", job=jobs[1])
    assert worker.notes() == ['"first"', '"last"'], "the damaged job never ran"
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING | {"buried": 1}, "the others are deleted")
    assert worker.stop() == 0
