"""The cache keeps the newest of each object, in whatever order watches, listings and answers bring them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.kinds import BUDGETS, CONFIG_MAPS, DEPLOYMENTS, PODS, POOLS, REPLICA_SETS
from tubeherd_operator.objects import Key

MAIL = Key("shop", "mail")
SMS = Key("shop", "sms")
THEIRS = Key("shop", "theirs")


def item(version, name="mail", pool="mail", **metadata):
    labels = {"tubeherd.io/pool": pool}
    return {
        "metadata": {"namespace": "shop", "name": name, "resourceVersion": str(version), "labels": labels, **metadata}
    }


@pytest.fixture
def changed():
    return []


@pytest.fixture
def written():
    return []


@pytest.fixture
def cache(changed, written):
    return Cache(changed.append, written.append)


def version(found):
    return int(found["metadata"]["resourceVersion"]) if found else None


def test_older_version_never_replaces_a_newer_one(cache, changed):
    cache.put(POOLS, item(7))
    for late in (6, 7):
        cache.put(POOLS, item(late))
    assert (version(cache.pool(MAIL)), changed) == (7, [MAIL])
    cache.put(POOLS, item(10))
    assert (version(cache.pool(MAIL)), changed) == (10, [MAIL, MAIL])


def test_a_version_is_known_of_its_kind_while_it_is_the_newest_of_its_object(cache):
    cache.put(POOLS, item(7))
    cache.put(POOLS, item(8, name="sms"))
    assert [version for version in range(6, 10) if cache.has_version(POOLS, version)] == [7, 8]
    assert not cache.has_version(DEPLOYMENTS, 7)
    cache.put_written(POOLS, item(9))
    cache.drop(POOLS, item(8, name="sms"))
    assert [version for version in range(6, 10) if cache.has_version(POOLS, version)] == [9]
    cache.fill(POOLS, list)
    assert not cache.has_version(POOLS, 9)


def test_what_the_operator_has_written_is_told_from_what_others_have(cache, changed, written):
    cache.put(POOLS, item(7, generation=1))
    changed.clear()
    cache.put_written(POOLS, item(8, generation=1))
    cache.put(POOLS, item(8, generation=1))
    assert (changed, written) == ([], [MAIL])
    cache.put(POOLS, item(9, generation=1))
    assert (changed, written) == ([MAIL], [MAIL])


def test_edit_that_only_the_answer_to_a_write_of_the_operator_shows_is_reported(cache, changed, written):
    cache.put(POOLS, item(7, generation=1))
    changed.clear()
    cache.put_written(POOLS, item(9, generation=2))
    cache.put(POOLS, item(8, generation=2))
    assert (changed, written) == ([MAIL], [])


def test_object_in_whose_place_another_came_meanwhile_is_reported(cache, changed, written):
    cache.put(POOLS, item(7, generation=1, uid="old"))
    changed.clear()
    cache.put_written(POOLS, item(9, generation=1, uid="new"))
    assert (changed, written) == ([MAIL], [])


def test_object_that_the_operator_has_made_is_reported(cache, changed, written):
    cache.put_written(DEPLOYMENTS, item(8, generation=1))
    assert (changed, written) == ([MAIL], [])


def test_equal_strings_of_objects_are_kept_once(cache):
    for name in ("mail", "sms"):
        cache.put(POOLS, json.loads(json.dumps(item(1, name) | {"spec": {"tubes": ["some tube"], "replicas": 1}})))
    mail, sms = cache.pool(MAIL)["spec"], cache.pool(SMS)["spec"]
    assert mail == {"tubes": ["some tube"], "replicas": 1}
    assert mail["tubes"][0] is sms["tubes"][0]
    assert [*map(id, mail)] == [*map(id, sms)]


def test_object_that_is_nested_without_an_end_is_kept_too(cache):
    nested = []
    for _ in range(100_000):
        nested = [nested]
    cache.put(POOLS, item(1) | {"spec": nested})
    assert version(cache.pool(MAIL)) == 1


def test_object_that_was_deleted_does_not_come_back_with_an_answer_that_is_late(cache):
    cache.put(DEPLOYMENTS, item(7))
    cache.drop(DEPLOYMENTS, item(9))
    cache.put(DEPLOYMENTS, item(8))
    assert cache.deployment(MAIL) is None
    cache.put(DEPLOYMENTS, item(10))
    assert version(cache.deployment(MAIL)) == 10


def test_deletion_that_is_reported_late_spares_the_next_object_of_the_name(cache, changed):
    cache.put(POOLS, item(7, uid="first"))
    cache.put(POOLS, item(12, uid="second"))
    cache.drop(POOLS, item(9, uid="first"))
    assert cache.pool(MAIL)["metadata"]["uid"] == "second"
    assert changed == [MAIL, MAIL]


def test_pods_and_replica_sets_are_found_by_their_pool_in_the_order_of_their_names(cache, changed):
    for name in ("mail-2", "mail-1"):
        cache.put(PODS, item(3, name))
        cache.put(REPLICA_SETS, item(3, name))
    cache.put(PODS, item(4, "mail-2"))
    cache.put(PODS, item(3, "sms-1", pool="sms"))
    assert [pod["metadata"]["name"] for pod in cache.pods(MAIL)] == ["mail-1", "mail-2"]
    assert [found["metadata"]["name"] for found in cache.replica_sets(MAIL)] == ["mail-1", "mail-2"]
    assert [pod["metadata"]["name"] for pod in cache.pods(SMS)] == ["sms-1"]
    assert changed == [MAIL] * 5 + [SMS]


def test_pod_that_is_given_to_another_pool_concerns_both(cache, changed):
    cache.put(PODS, item(3, "mail-1"))
    changed.clear()
    cache.put(PODS, item(4, "mail-1", pool="sms"))
    assert sorted(changed) == [MAIL, SMS]
    assert (cache.pods(MAIL), len(cache.pods(SMS))) == ([], 1)


@pytest.mark.parametrize("spec", [None, {}, {"executors": "jobs"}, {"executors": {"configMap": "other"}}])
def test_config_map_concerns_the_pools_that_name_it(cache, changed, spec):
    cache.put(POOLS, item(3, "mail") | {"spec": {"executors": {"configMap": "jobs"}}})
    cache.put(POOLS, item(3, "sms") | {"spec": spec})
    changed.clear()
    cache.put(CONFIG_MAPS, item(4, "jobs"))
    cache.put(CONFIG_MAPS, item(4, "unknown"))
    assert (changed, version(cache.config_map(Key("shop", "jobs")))) == ([MAIL], 4)
    cache.drop(CONFIG_MAPS, item(5, "jobs"))
    assert (changed, cache.config_map(Key("shop", "jobs"))) == ([MAIL, MAIL], None)
    cache.put(POOLS, item(6, "mail") | {"spec": spec})
    changed.clear()
    cache.put(CONFIG_MAPS, item(7, "jobs"))
    assert changed == []


def test_of_a_replica_set_the_pod_template_is_not_kept(cache):
    cache.put(REPLICA_SETS, item(3, "mail-1") | {"spec": {"template": {}}, "status": {"replicas": 1}})
    (kept,) = cache.replica_sets(MAIL)
    assert (kept.keys(), version(kept)) == ({"metadata"}, 3)


def config_map(number, name="jobs", namespace="shop"):
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "resourceVersion": str(number),
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "all that is in it"},
        }
    }


@pytest.mark.parametrize(
    ("scope", "watched"),
    [
        (Key("shop", "jobs"), [Key("shop", "jobs")]),
        (Key("shop", ""), [Key("shop", "jobs"), Key("shop", "more")]),
        (Key("", ""), [Key("shop", "jobs"), Key("shop", "more"), Key("other", "jobs")]),
    ],
)
def test_config_maps_of_a_scope_are_watched_until_that_ends(cache, scope, watched):
    keys = [Key("shop", "jobs"), Key("shop", "more"), Key("other", "jobs")]
    cache.cover(scope, [])
    assert [key for key in keys if cache.watches_config_map(key)] == watched
    for key in keys:
        cache.put(CONFIG_MAPS, {"metadata": {"namespace": key.namespace, "name": key.name, "resourceVersion": "7"}})
    cache.cover(Key("shop", "more"), [cache.config_map(Key("shop", "more"))])
    cache.uncover(scope)
    assert [key for key in keys if cache.watches_config_map(key)] == [Key("shop", "more")]
    assert [key for key in watched if cache.config_map(key)] == [key for key in watched if key.name == "more"], (
        "others are forgotten"
    )


def test_pools_whose_config_map_is_watched_no_longer_are_reported():
    unwatched = []
    cache = Cache(lambda _: None, lambda _: None, unwatched.append)
    cache.put(POOLS, item(1, "mail") | {"spec": {"executors": {"configMap": "jobs"}}})
    cache.put(POOLS, item(2, "sms") | {"spec": {"executors": {"configMap": "others"}}})
    cache.put(POOLS, item(3, "none") | {"spec": {}})
    cache.uncover(Key("shop", "jobs"))
    assert unwatched == [MAIL]
    cache.uncover(Key("shop", ""))
    assert sorted(unwatched[1:]) == [MAIL, SMS]
    cache.uncover(Key("bank", ""))
    assert len(unwatched) == 3


def test_config_map_that_was_deleted_while_its_watch_was_broken_is_reported_when_it_is_watched_again(cache, changed):
    cache.put(POOLS, item(1, "mail") | {"spec": {"executors": {"configMap": "jobs"}}})
    cache.put(POOLS, item(2, "sms") | {"spec": {"executors": {"configMap": "more"}}})
    cache.cover(Key("shop", ""), [config_map(3), config_map(4, "more")])
    cache.uncover(Key("shop", ""))
    changed.clear()
    cache.cover(Key("shop", ""), [config_map(4, "more")])
    assert sorted(changed) == [MAIL, SMS]
    changed.clear()
    cache.cover(Key("shop", ""), [config_map(4, "more")])
    assert not changed


def test_listing_of_config_maps_drops_what_it_lacks_of_its_scope_alone(cache, changed):
    cache.put(POOLS, item(3, "mail") | {"spec": {"executors": {"configMap": "jobs"}}})
    cache.put(POOLS, item(3, "sms", namespace="other") | {"spec": {"executors": {"configMap": "jobs"}}})
    assert cache.named_config_maps() == {Key("shop", "jobs"), Key("other", "jobs")}
    cache.cover(Key("shop", ""), [config_map(4), config_map(4, "more")])
    cache.cover(Key("other", "jobs"), [config_map(5, namespace="other")])
    changed.clear()
    cache.cover(Key("shop", ""), [config_map(4, "more")])
    assert changed == [MAIL]
    assert cache.config_map(Key("shop", "jobs")) is None
    cache.cover(Key("other", "jobs"), [config_map(5, namespace="other")])
    assert changed == [MAIL], "nothing has changed there"
    assert "annotations" not in cache.config_map(Key("other", "jobs"))["metadata"]


def budget(number, name="theirs", labels=None, most=1, **selector):
    """Return a budget that selects pods with these labels; of all pools, if they are None."""
    selector = {"matchLabels": labels or {"app": "shop"}, **selector}
    return item(number, name) | {"spec": {"maxUnavailable": most, "selector": selector}}


def of(pool):
    return {"tubeherd.io/pool": pool}


def test_budget_concerns_the_pool_that_it_selects_or_all_of_its_namespace_if_it_may_select_any(cache, changed):
    for name in ("mail", "sms"):
        cache.put(POOLS, item(3, name))
    cache.put(POOLS, item(3, "mail", namespace="other"))
    changed.clear()
    cache.put(BUDGETS, budget(4, "mail", of("mail")))
    cache.put(BUDGETS, budget(5, "mail", of("mail"), most=2))
    assert changed == [MAIL, MAIL]
    changed.clear()
    cache.put(BUDGETS, budget(6))
    assert sorted(changed) == [MAIL, SMS, THEIRS]
    changed.clear()
    cache.put(BUDGETS, budget(7))
    assert changed == [THEIRS], "its status alone has changed"
    cache.put(BUDGETS, budget(8, most=2))
    assert sorted(changed) == [MAIL, SMS, THEIRS, THEIRS]
    assert [version(each) for each in cache.budgets(MAIL)] == [5, 8]
    changed.clear()
    cache.drop(BUDGETS, budget(9))
    assert sorted(changed) == [MAIL, SMS, THEIRS]
    assert cache.budgets(Key("other", "mail")) == []


def test_pool_has_the_budget_of_its_name_and_those_that_may_select_its_pods(cache):
    cache.put(BUDGETS, budget(3, "mail", of("sms")))
    cache.put(BUDGETS, budget(4, "a", of("mail")))
    cache.put(BUDGETS, budget(5, "b", of("sms")))
    cache.put(BUDGETS, budget(6, "c", of("sms") | {"app": "shop"}))
    cache.put(BUDGETS, budget(7, "d", of("sms"), matchExpressions=[{"key": "app", "operator": "Exists"}]))
    cache.put(BUDGETS, item(8, "e") | {"spec": {"selector": {}}})
    cache.put(BUDGETS, item(9, "f") | {"spec": {}})
    assert [version(each) for each in cache.budgets(MAIL)] == [4, 6, 7, 8, 9, 3]
    assert [version(each) for each in cache.budgets(SMS)] == [5, 6, 7, 8, 9, 3]


def test_own_budget_that_selects_other_pods_concerns_its_pool_and_all_others(cache, changed):
    for name in ("mail", "sms"):
        cache.put(POOLS, item(3, name))
    cache.put(BUDGETS, budget(4, "mail", of("mail")))
    changed.clear()
    cache.put(BUDGETS, budget(5, "mail"))
    assert sorted(changed) == [MAIL, SMS]
    changed.clear()
    cache.put(BUDGETS, budget(6, "mail", of("sms")))
    assert sorted(changed) == [MAIL, SMS]


def test_deployment_belongs_to_the_pool_of_its_name_whatever_its_label(cache, changed):
    cache.put(DEPLOYMENTS, item(3, "mail", pool="stolen"))
    assert (version(cache.deployment(MAIL)), changed) == (3, [MAIL])


def test_listing_drops_what_it_lacks_and_adds_what_no_watch_has_brought(cache, changed):
    cache.put(POOLS, item(3, "mail"))
    cache.put(POOLS, item(3, "kept"))
    changed.clear()
    cache.fill(POOLS, lambda: [item(3, "kept"), item(9, "sms")])
    assert sorted(pool["metadata"]["name"] for pool in cache.pools()) == ["kept", "sms"]
    assert sorted(changed) == [MAIL, SMS]


def test_listing_of_a_namespace_leaves_what_others_have(cache):
    cache.put(POOLS, item(3, "mail"))
    cache.put(POOLS, item(4, "sms") | {"metadata": item(4, "sms")["metadata"] | {"namespace": "queue"}})
    cache.fill(POOLS, list, "shop")
    assert [pool["metadata"]["name"] for pool in cache.pools()] == ["sms"]


def test_what_a_listing_lacked_may_come_back_as_it_was(cache):
    cache.put(POOLS, item(7))
    cache.fill(POOLS, list)  # as if the CustomResourceDefinition had not been served for a moment
    assert cache.pool(MAIL) is None
    cache.put(POOLS, item(7))
    assert version(cache.pool(MAIL)) == 7


def test_what_a_watch_brings_during_a_listing_stands(cache):
    cache.put(POOLS, item(3, "mail"))
    cache.put(POOLS, item(3, "sms"))

    def listing():
        cache.put(POOLS, item(8, "new"))
        cache.put(POOLS, item(9, "mail"))
        cache.drop(POOLS, item(9, "sms"))
        return [item(3, "sms")]

    cache.fill(POOLS, listing)
    assert {pool["metadata"]["name"]: version(pool) for pool in cache.pools()} == {"new": 8, "mail": 9}


def test_listing_that_fails_changes_nothing(cache):
    cache.put(POOLS, item(3))

    def fails():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        cache.fill(POOLS, fails)
    assert version(cache.pool(MAIL)) == 3


def test_listing_that_fails_after_its_first_page_drops_nothing(cache):
    cache.put(POOLS, item(3))

    def fails():
        yield item(4, "sms")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        cache.fill(POOLS, fails)
    assert sorted(pool["metadata"]["name"] for pool in cache.pools()) == ["mail", "sms"]


def test_record_of_who_set_which_field_is_not_kept(cache):
    cache.put(DEPLOYMENTS, item(3, managedFields=[{"manager": "kubectl"}]))
    assert "managedFields" not in cache.deployment(MAIL)["metadata"]


@given(st.permutations(range(1, 9)), st.sets(st.integers(1, 8)))
def test_whatever_the_order_the_last_version_decides(order, deletions):
    cache = Cache(lambda _: None, lambda _: None)
    for number in order:
        (cache.drop if number in deletions else cache.put)(PODS, item(number, "mail-1"))
    assert [version(pod) for pod in cache.pods(MAIL)] == ([] if 8 in deletions else [8])
