"""The version registry."""

import msgspec
import pytest

from andoncord.kernel.errors import ConflictError, NotFoundError
from andoncord.recover.registry import Registry


def two_versions() -> Registry:
    registry = Registry().publish("helpdesk", {"prompt": "kind"}, good=True, at_ns=1, by="person:ada")
    registry = registry.publish("helpdesk", {"prompt": "quick"}, at_ns=2, by="person:bob")
    return registry.activate("helpdesk", "v2", at_ns=3, by="person:bob")


def test_the_first_version_becomes_active_and_later_ones_wait() -> None:
    """Publishing alone never changes what a running agent reads, except for the first version."""
    registry = Registry().publish("helpdesk", {"prompt": "kind"}, at_ns=1, by="person:ada")
    registry = registry.publish("helpdesk", {"prompt": "quick"}, at_ns=2, by="person:bob")

    active = registry.active("helpdesk")
    assert active is not None
    assert active.version == "v1"


def test_last_good_is_the_one_active_before() -> None:
    """Rollback goes to the good version that was in force most recently before the bad one."""
    good = two_versions().last_good("helpdesk")

    assert good is not None
    assert good.version == "v1"


def test_a_version_nobody_vouches_for_is_no_way_back() -> None:
    """Without a good version there is nothing to roll back to."""
    assert two_versions().mark_good("helpdesk", "v1", good=False).last_good("helpdesk") is None


def test_a_good_version_that_was_never_active_is_no_way_back() -> None:
    """Good on paper is not known good: only what ran may be gone back to."""
    registry = two_versions().mark_good("helpdesk", "v1", good=False)
    registry = registry.publish("helpdesk", {"prompt": "new"}, good=True, at_ns=4, by="person:ada")

    assert registry.last_good("helpdesk") is None


def test_after_a_rollback_the_bad_version_still_points_to_the_good_one() -> None:
    """`last_good(before=v2)` does not change its answer because v1 is active again."""
    registry = two_versions().activate("helpdesk", "v1", at_ns=5, by="andoncord")

    good = registry.last_good("helpdesk", before="v2")
    assert good is not None
    assert good.version == "v1"


def test_versions_never_change() -> None:
    """The same name with other values is refused; with the same values nothing happens."""
    registry = two_versions()

    assert registry.publish("helpdesk", {"prompt": "kind"}, version="v1", at_ns=9, by="person:eve") is registry
    with pytest.raises(ConflictError, match="other values"):
        registry.publish("helpdesk", {"prompt": "evil"}, version="v1", at_ns=9, by="person:eve")


def test_an_unknown_version_is_named_with_those_known() -> None:
    """The error says what could have been meant."""
    with pytest.raises(NotFoundError, match="known: v1, v2"):
        two_versions().activate("helpdesk", "v7", at_ns=9, by="person:ada")


def test_it_survives_json() -> None:
    """A registry read back from JSON is the same registry."""
    registry = two_versions()

    assert msgspec.json.decode(msgspec.json.encode(registry), type=Registry) == registry
