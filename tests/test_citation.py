"""`CITATION.cff` is valid for its format, and says what the package says."""

import re
from configparser import ConfigParser

import yaml
from conftest import REPOSITORY

CITATION = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
# of the schema of version 1.2.0 (10.5281/zenodo.5171937)
REQUIRED = {"authors", "cff-version", "message", "title"}
KEYS = REQUIRED | {
    "abstract", "commit", "contact", "date-released", "doi", "identifiers", "keywords", "license",
    "license-url", "preferred-citation", "references", "repository", "repository-artifact",
    "repository-code", "type", "url", "version"}
ENTITY = {"name", "address", "alias", "city", "country", "date-end", "date-start", "email", "fax",
          "location", "orcid", "post-code", "region", "tel", "website"}
PERSON = {"affiliation", "alias", "city", "country", "email", "family-names", "given-names",
          "name-particle", "name-suffix", "orcid", "website"}


def test_the_citation_is_valid_for_its_format() -> None:
    assert set(CITATION) >= REQUIRED and set(CITATION) <= KEYS
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] in ("software", "dataset")
    assert all(isinstance(CITATION[key], str) and CITATION[key] for key in ("message", "title"))
    assert CITATION["authors"]
    for author in CITATION["authors"]:
        assert set(author) <= (ENTITY if "name" in author else PERSON) and author
    words = CITATION["keywords"]
    assert words and len(set(words)) == len(words) and all(isinstance(one, str) for one in words)


def test_the_citation_agrees_with_the_package() -> None:
    setup = ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    assert str(CITATION["version"]) == setup["metadata"]["version"]
    assert CITATION["license"] == setup["metadata"]["license"]
    assert CITATION["title"].startswith(f"{setup['metadata']['name']}: ")
    assert re.match(r"MIT", (REPOSITORY / "LICENSE").read_text())
