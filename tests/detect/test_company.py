"""Partners: who is new for an agent and its role, and who fell silent."""

from andoncord.detect.company import Company


def test_what_others_of_the_role_do_is_no_news() -> None:
    """The same new partner surprises less where the role's other agents reach it in every run."""
    alone, among = Company(limit=10), Company(limit=10)
    for company in (alone, among):
        for _ in range(60):
            company.take(("a", True), ("role", True), {"billing"})
    for _ in range(60):
        among.take(("b", True), ("role", True), {"billing", "mailer"})
    surprises = [company.take(("a", True), ("role", True), {"billing", "mailer"}) or 0.0 for company in (alone, among)]

    assert surprises[0] > 2 * surprises[1]


def test_it_says_who_is_new_and_who_is_missing() -> None:
    """The words name both ends of what changed."""
    company = Company(limit=10)
    for _ in range(60):
        company.take(("a", True), ("a", True), {"billing"})
    company.take(("a", True), ("a", True), {"mailer"})

    assert sorted(company.told(("a", True)).split(", ")) == ["no longer billing", "now mailer"]
