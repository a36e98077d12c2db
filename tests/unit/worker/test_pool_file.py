"""What a worker without a cluster takes from the file of a pool, and what is said of a file that is none."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.project import ROOT
from tubeherd.settings import WorkerSettings
from tubeherd.starting.pool_file import WrongPool, read_pool

HEAD = "apiVersion: tubeherd.io/v1alpha1\nkind: WorkerPool\nmetadata: {name: mail}\n"
POOL = f"""{HEAD}
spec:
  tubes: [mail, report]
  server: queue:11300
  concurrency: 2
  memoryLimit: 256Mi
  jobTimeout: 5m
  ackAfterFlush: true
  retry: {{delays: [10s, 10m]}}
  env:
    - {{name: SMTP_HOST, value: smtp}}
    - {{name: URL, value: "smtp://$(SMTP_HOST):$(PORT)/$$(SMTP_HOST)"}}
    - {{name: TUBEHERD_LOG_LEVEL, value: debug}}
"""


@pytest.fixture
def read(tmp_path):
    """Read a pool from a file with this text: `read(text, environ={}, name="pool.yaml")`."""

    def reads(text, environ=(), name="pool.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return read_pool(path, dict(environ))

    return reads


def test_pool_sets_the_variables_that_it_sets_in_a_cluster(read):
    pool = read(POOL)
    assert pool.ignored == []
    settings = WorkerSettings.load(pool.variables)
    assert (settings.include, settings.server, settings.concurrency) == (("mail", "report"), "queue:11300", 2)
    assert (settings.retry_delays, settings.job_timeout, settings.ack_after_flush) == ((10, 600), 300, True)
    assert settings.log_level == "debug"
    assert pool.variables["URL"] == "smtp://smtp:$(PORT)/$(SMTP_HOST)"


def test_variables_of_the_user_win_over_the_pool_unless_they_are_empty(read):
    pool = read(POOL, {"TUBEHERD_SERVER": "here:1", "SMTP_HOST": "local", "TUBEHERD_CONCURRENCY": ""})
    assert "TUBEHERD_SERVER" not in pool.variables
    assert "SMTP_HOST" not in pool.variables
    assert pool.variables["TUBEHERD_CONCURRENCY"] == "2"
    assert pool.variables["URL"].startswith("smtp://local:")


def test_empty_list_of_delays_stays_one(read):
    assert read(f"{HEAD}spec: {{tubes: [a], retry: {{delays: []}}}}").variables["TUBEHERD_RETRY_DELAYS"] == "none"


def test_what_has_no_meaning_without_a_cluster_is_named(read):
    spec = (
        "spec: {tubes: [a], image: x, replicas: 3, suspend: true, executors: {configMap: x}, envFrom: [{}], "
        "env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: a, key: b}}}]}"
    )
    fields, variable = read(HEAD + spec).ignored
    assert sorted(re.findall(r"\b(image|replicas|suspend|executors\.configMap|envFrom)\b", fields)) == [
        "envFrom", "executors.configMap", "image", "replicas", "suspend",
    ]  # fmt: skip
    assert variable == "the variable PASSWORD comes from the cluster: set it yourself if the executors need it"
    assert len(read(HEAD + spec, {"PASSWORD": "x"}).ignored) == 1


def test_template_is_checked_and_means_nothing_without_a_cluster(read):
    (fields,) = read(HEAD + "spec: {tubes: [a], template: {spec: {priorityClassName: high}}, strategy: {}}").ignored
    assert "template, strategy" in fields
    pool = "spec: {tubes: [a], template: {spec: {containers: [{name: worker, command: [hunter2]}]}}}"
    with pytest.raises(WrongPool, match="the image's own command starts the worker") as raised:
        read(HEAD + pool)
    assert "spec.template.spec.containers.0.command" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_the_pool_of_the_example_is_read_though_its_file_has_another_object():
    pool = read_pool(ROOT / "examples" / "mail" / "workerpool.yaml", {})
    assert pool.name == "mail"
    assert pool.variables["SMTP_PORT"] == "8025"


def test_json_needs_no_parser_of_yaml(read, monkeypatch):
    text = json.dumps(yaml.safe_load(POOL))
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert read(text).variables["TUBEHERD_INCLUDE"] == "mail,report"
    assert read(text, name="pool.json").name == "mail"
    with pytest.raises(WrongPool, match=re.escape("install it with pip install 'tubeherd[pool]'")):
        read(POOL)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no object of the kind WorkerPool: it is empty"),
        ("---\n---\n", "has no object of the kind WorkerPool: it is empty"),
        ("[1, 2]", "has no object of the kind WorkerPool: it has list"),
        ("just words", "has no object of the kind WorkerPool: it has str"),
        ("kind: Deployment", "has no object of the kind WorkerPool: it has Deployment"),
        ("kind: [WorkerPool]", "has no object of the kind WorkerPool"),
        ("a: [", "is no YAML: expected the node content, but found '<stream end>', line 1"),
        ("a: b: c", "is no YAML: mapping values are not allowed here"),
        ("{{ .Values.x }}: 1", "is no YAML: "),
        ("a: !!python/object:os.system x", "is no YAML: could not determine a constructor"),
        ("\0", "is no YAML: "),
        ("[" * 100_000, "is no YAML: "),
        (POOL + "---\n" + POOL, "has 2 pools, and a worker serves one"),
        ("kind: WorkerPool", "apiVersion must be tubeherd.io/v1alpha1, not None"),
        ("apiVersion: tubeherd.io/v2\nkind: WorkerPool", "apiVersion must be tubeherd.io/v1alpha1, not tubeherd.io/v2"),
        (HEAD, "spec is missing"),
        (f"{HEAD}spec: [mail]", "spec is missing"),
        (f"{HEAD}spec: {{}}", "spec.tubes: Field required"),
        (f"{HEAD}spec: {{tubes: mail}}", "spec.tubes: "),
        (f"{HEAD}spec: {{tubes: [two words]}}", "pool.yaml, pool mail: spec.tubes.0: write the name of a "
         "tube or a glob, like mail or reports.*: 1 to 200 of A-Z a-z 0-9 - + / ; . $ _ ( ) * ?, and no - at the "
         "beginning, not 'two words'"),
        (f"{HEAD}spec: {{tubes: [tubeherd.a]}}", "pool mail: spec.tubes.0: 'tubeherd.a' is reserved"),
        (f"{HEAD}spec: {{tubes: [a], retry: {{delays: [10z]}}}}",
         "spec.retry.delays.0: write it like 90s, 10m, 1h30m or '10 minutes', not '10z'"),
        (f"{HEAD.replace('mail', '')}spec: {{tubes: []}}", "pool.yaml: spec.tubes: "),
        (f"{HEAD}spec: {{tubes: [a], replicas: 1, autoscale: {{jobsPerReplica: 1, maxReplicas: 2}}}}",
         "pool mail: spec: replicas is set, and autoscale chooses it"),
        (f"{HEAD}spec: {{tubes: [a], concurency: 2}}", "concurency is no field of a pool: did you mean concurrency?"),
        (f"{HEAD}spec: {{tubes: [a], concurrency: many}}", "spec.concurrency: "),
        (f"{HEAD}spec: {{tubes: [a], jobTimeout: soon}}", "spec.jobTimeout: write it like 90s, 10m"),
        (f"{HEAD}spec: {{tubes: [a], env: [{{name: A, value: 1}}]}}", "spec.env.0.value: Input should be a"),
        (f"{HEAD}spec: {{tubes: [a], env: [{{name: TUBEHERD_MAX_JOBS, value: '1'}}]}}",
         "spec.env must not set TUBEHERD_MAX_JOBS, because a field of the spec sets it"),
        (f'{HEAD}spec: {{tubes: [a], env: [{{name: A, value: "a\\0b"}}]}}', "the value of A has a NUL in it"),
        ("x" * (3 << 20), "is larger than 2 MiB"),
    ],
)  # fmt: skip
def test_what_is_no_pool_is_refused_with_the_reason(read, text, said):
    with pytest.raises(WrongPool, match=re.escape(said)) as raised:
        read(text)
    assert len(str(raised.value)) < 2000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("spec: {tubes: [a], http: {a: 'https://me:hunter2@host/ x'}}", "spec.http.a: write it like https://"),
        ('spec: {tubes: [a], command: {a: "mysql -phunter2 \'x"}}', "spec.command.a: write it like php mail.php"),
        ("spec: {tubes: [a], command: {a: [mysql, -phunter2]}}", "spec.command.a: "),
        ("spec: {tubes: [a], env: [{name: A, value: {hunter2: 1}}]}", "spec.env.0.value: "),
        ("spec: {tubes: [a], env: [{name: A, value: hunter2: x}]}", "is no YAML: "),
        ("spec:\n  tubes: [a]\n  env:\n  - name: A\n    value: hunter2: x\n", "is no YAML: mapping values are not"),
    ],
)
def test_messages_quote_nothing_where_secrets_may_be(read, text, said):
    with pytest.raises(WrongPool, match=re.escape(said)) as raised:
        read(HEAD + text)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(("path", "said"), [("nowhere.yaml", "No such file"), (".", "Is a directory")])
def test_file_that_cannot_be_read_is_named(tmp_path, monkeypatch, path, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WrongPool, match=f"{re.escape(path)}: {said}"):
        read_pool(Path(path), {})


def test_wrong_json_is_refused_without_a_parser_of_yaml(read):
    with pytest.raises(WrongPool, match=r"pool\.json is no JSON: "):
        read("{", name="pool.json")
