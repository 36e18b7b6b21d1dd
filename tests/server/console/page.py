"""A page as the tests see it: elements with attributes, text and ancestors, by the parser of the standard library."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})


@dataclass
class Element:
    """One element of a page."""

    tag: str
    attributes: dict[str, str]
    parent: "Element | None" = None
    content: list["Element | str"] = field(default_factory=list)
    """Elements and texts in the order of the page."""

    @property
    def own_text(self) -> list[str]:
        return [part for part in self.content if isinstance(part, str)]

    @property
    def children(self) -> list["Element"]:
        return [part for part in self.content if isinstance(part, Element)]

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    @property
    def text(self) -> str:
        """The text of the element and everything in it, with single spaces."""
        return " ".join("".join(self._texts()).split())

    def all(self, tag: str = "", **wanted: str) -> list["Element"]:
        """Every element below with this tag and these attributes (`class_` and `name` as they are written)."""
        found: list[Element] = []
        for child in self.children:
            matches = (not tag or child.tag == tag) and all(
                value in child.classes if name == "class_" else child.attributes.get(name.replace("_", "-")) == value
                for name, value in wanted.items()
            )
            if matches:
                found.append(child)
            found.extend(child.all(tag, **wanted))
        return found

    def one(self, tag: str = "", **wanted: str) -> "Element":
        found = self.all(tag, **wanted)
        assert found, f"no <{tag or '*'} {wanted}> on the page"
        return found[0]

    def fields(self) -> dict[str, str]:
        """What submitting this form without touching it would send, buttons left out."""
        sent = {
            element.attributes["name"]: element.attributes.get("value", "")
            for element in self.all("input")
            if "name" in element.attributes
        }
        for element in self.all("textarea"):
            sent[element.attributes["name"]] = "".join(element._texts())
        for element in self.all("select"):
            options = element.all("option")
            chosen = [option for option in options if "selected" in option.attributes] or options[:1]
            for option in chosen:
                sent[element.attributes["name"]] = option.attributes.get("value", option.text)
        return sent

    def _texts(self) -> list[str]:
        return [text for part in self.content for text in ([part] if isinstance(part, str) else part._texts())]


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.here = self.root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.here)
        self.here.content.append(element)
        if tag not in VOID:
            self.here = element

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.here.tag == tag, f"</{tag}> closes <{self.here.tag}> at {self.getpos()}"
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.content.append(data)


def parse(html: str) -> Element:
    """The page as a tree.

    Raises:
        AssertionError: elements do not close in the order in which they were opened.
    """
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert builder.here is builder.root, f"<{builder.here.tag}> is not closed"
    return builder.root
