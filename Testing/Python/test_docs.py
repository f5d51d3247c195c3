"""The pages: short sentences; links, commands, files and names that exist; figures as in the model's card."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").glob("*.md"))
NAMES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Testing/README.md", *DOCS]
RECORDS = ("CHANGELOG.md", "docs/lab_book.md")  # name what was
MADE = ("docs/failure_modes.md", "docs/model_card.md")  # by a program
LONGEST = 30  # words of a sentence

CODE_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`([^`\n]+)`")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w.-]*")
MADE_BLOCK = re.compile(r"<!-- made by [^>]*: begin -->.*?<!-- made by [^>]*: end -->", re.DOTALL)


@cache
def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# ---------------------------------------------------------------- sentences


def sentences(text: str) -> list[str]:
    """Sentences of a Markdown page; tables, headings, code blocks and what a program wrote hold none."""
    text = CODE_BLOCK.sub("\n\n", MADE_BLOCK.sub("\n\n", text))
    text = INLINE_CODE.sub("Code", re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text))
    found = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.)\s)|^#.*$|^\|.*$", text, flags=re.MULTILINE):
        found += re.split(r"(?<!et al\.)(?<=[.!?])[)”\"*]*\s+", " ".join(block.split()))
    return found


def words(sentence: str) -> int:
    return sum(any(c.isalnum() for c in word) for word in sentence.split())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*RECORDS, *MADE)])
def test_no_sentence_is_too_long(name):
    long = [f"{words(s)} words: {s}" for s in sentences(text_of(name)) if words(s) > LONGEST]
    assert not long, "\n".join(long)


def test_long_sentences_are_seen():
    page = (
        "# A title\n\n- "
        + "word " * LONGEST
        + "more.\n- Short. `code` "
        + "word " * LONGEST
        + "\n\n| a | table |\n"
    )
    assert [n for n in map(words, sentences(page)) if n > 1] == [LONGEST + 1, LONGEST + 1]


def test_the_how_to_of_training_stays_short():
    assert len(text_of("docs/training.md").splitlines()) <= 120


# ---------------------------------------------------------------- links


def anchors(name: str) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", CODE_BLOCK.sub("", text_of(name)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", CODE_BLOCK.sub("", text_of(name))):
        path, _, anchor = target.partition("#")
        page = (ROOT / name).parent / path if path else ROOT / name
        if re.match(r"\w+:", target):
            continue
        if not page.exists() or (
            anchor and anchor not in anchors(page.resolve().relative_to(ROOT).as_posix())
        ):
            lost.append(target)
    assert not lost


# ---------------------------------------------------------------- commands


def commands(name: str) -> list[str]:
    """Shell commands of a page, in blocks and in the text; a backslash at the end joins lines."""
    text = text_of(name)
    blocks = [block.replace("\\\n", " ") for language, block in CODE_BLOCK.findall(text) if language == "sh"]
    lines = [line for block in blocks for line in block.splitlines()]
    return [re.sub(r"#.*", "", line) for line in (*lines, *INLINE_CODE.findall(CODE_BLOCK.sub("", text)))]


@cache
def options_of_training() -> frozenset[str]:
    from BreastCMSLLib.network.resnet import NetworkSettings
    from training.recipes import Config

    given = [f.name for f in fields(Config)] + [f"network.{f.name}" for f in fields(NetworkSettings)]
    given += [f"network.no_{f.name}" for f in fields(NetworkSettings)]
    return frozenset("--" + option.replace("_", "-") for option in given)


@cache
def options_of(script: str) -> frozenset[str]:
    """Options that a script names; of one that hands on, also those of the folder it hands on to."""
    if script == "training/train.py":
        return options_of_training()
    folder = {"training/simulate.py": "training/simulation"}.get(script)
    sources = [ROOT / script, *((ROOT / folder).glob("*.py") if folder else ())]
    texts = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    return frozenset(re.findall(r'"(--[a-z][\w-]*)"', texts))


def unknown(command: str) -> list[str]:
    """What a command names that there is not: a script, a module, a make target, an option."""
    targets = re.findall(r"\bmake ([a-z][a-z-]*)\b", command)
    missing = [f"make {name}" for name in targets if f"\n{name}:" not in text_of("Makefile")]
    for module in re.findall(r"\bpython3? -m ((?:training|Testing|BreastCMSLLib)[\w.]*)", command):
        path = ROOT / module.replace(".", "/")
        missing += [] if path.with_suffix(".py").is_file() or (path / "__main__.py").is_file() else [module]
    for script, rest in re.findall(r"((?:training|scripts|Testing|examples)/[\w/]+\.(?:py|sh))(.*)", command):
        if (ROOT / script).is_file():
            missing += [option for option in OPTION.findall(rest) if option not in options_of(script)]
        else:
            missing.append(script)
    for action, rest in re.findall(r"\bbreastcmsl ([a-z]+)(.*)", command):
        missing += [
            word
            for word in (action, *OPTION.findall(rest))
            if f'"{word}"' not in text_of("BreastCMSLLib/cli.py")
        ]
    return [word for word in missing if word != "--help"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_commands_exist(name):
    assert not [
        word for command in commands(name) if not re.search("†|pytest", command) for word in unknown(command)
    ]


def spacings(commands: list[str]) -> list[tuple[str, str, float, float]]:
    """Of each training on a cache that was prepared above it: recipe, cache, spacing wanted and prepared."""
    from training.recipes import RECIPES

    prepared, pairs = {}, []
    for command in commands:
        options = dict(re.findall(r"(--[\w-]+)[ =](\S+)", command))
        if "training/prepare.py" in command and "--output" in options:
            prepared[options["--output"]] = float(options.get("--spacing", 1.1))
        trained = re.search(r"training/train\.py (\w+)", command)
        if trained and (folder := options.get("--cache")) in prepared:
            wanted = float(options.get("--spacing-mm", RECIPES[trained[1]](Path()).spacing_mm))
            pairs.append((trained[1], folder, wanted, prepared[folder]))
    return pairs


def test_exams_are_prepared_as_the_recipe_that_follows_wants_them():
    pairs = [pair for name in NAMES if name not in RECORDS for pair in spacings(commands(name))]
    assert pairs and not [pair for pair in pairs if pair[2] != pair[3]]
    mistaken = ["python training/prepare.py x.csv --output C", "python training/train.py own --cache C"]
    assert spacings(mistaken) == [("own", "C", 2.2, 1.1)]


def test_unknown_commands_are_seen():
    assert unknown("make tea") and unknown("python -m training.tea") and unknown("breastcmsl analyze X --tea")
    assert unknown("python training/tea.py") and unknown("python training/train.py small_cpu --tea")
    assert unknown("python training/evaluate.py RUN --tea") and not unknown(
        "python training/evaluate.py RUN --export DIR"
    )


# ---------------------------------------------------------------- files and names in the code


@cache
def defined(path: Path) -> frozenset[str]:
    """Names at a module's top, and of its classes' methods and fields."""
    body, given = ast.parse(path.read_text(encoding="utf-8")).body, set()
    while body:
        node = body.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            given.add(node.name)
            body += node.body if isinstance(node, ast.ClassDef) else []
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            given |= {
                name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
            }
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            given |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return frozenset(given)


def source(path: str) -> Path | None:
    """The file that a page calls so: its path from the root, or from one of the folders of code."""
    bases = (
        ROOT / base for base in ("", "BreastCMSLLib", "training", "BreastCMSL", "Testing", "Testing/Python")
    )
    return next((base / path for base in bases if (base / path).exists()), None)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in RECORDS])
def test_files_exist(name):
    """Files and folders with a slash in their name; placeholders in capitals are none."""
    codes = INLINE_CODE.findall(CODE_BLOCK.sub("", text_of(name)))
    folders = r"[a-z][\w./]*/|" if name in ("docs/architecture.md", "docs/tour.md", "CONTRIBUTING.md") else ""
    paths = [code for code in codes if re.fullmatch(folders + r"[\w./]+/[\w.]+\.(py|sh|toml|txt|yml)", code)]
    assert not [path for path in paths if source(path) is None]


@pytest.mark.parametrize("name", ["docs/tour.md", "docs/architecture.md"])
def test_functions_are_in_the_files_beside_them(name):
    """In a row of a table that names files, every name in code is one of theirs."""
    lost = []
    for line in re.findall(r"^\|.*", CODE_BLOCK.sub("", text_of(name)), re.MULTILINE):
        codes = INLINE_CODE.findall(line)
        files = [source(code) for code in codes if re.fullmatch(r"[\w./]+\.py", code)]
        assert None not in files, f"{line}: no such file"
        known = {given for path in files for given in defined(path)}
        lost += [
            f"{code} in {line}"
            for code in codes
            if files
            and re.fullmatch(r"[A-Za-z_]\w+(\.\w+)?\(?\)?", code)
            and not code.endswith(".py")
            and code.rstrip("()").split(".")[-1] not in known
        ]
    assert not lost, "\n".join(lost)


def dotted_names(name: str) -> list[str]:
    """What a page says of the code with dots, and what its Python imports."""
    text = text_of(name)
    imports = re.findall(r"\bfrom ((?:BreastCMSLLib|training)[\w.]*) import ([\w, ]+)", text)
    imported = [f"{module}.{word}" for module, words in imports for word in re.split(r",\s*", words.strip())]
    codes = INLINE_CODE.findall(CODE_BLOCK.sub("", text))
    return imported + [
        word for code in codes for word in re.findall(r"^((?:BreastCMSLLib|training)\.[\w.]*\w)", code)
    ]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in RECORDS])
def test_dotted_names_exist(name):
    assert not [word for word in dotted_names(name) if not reaches(word)]


def reaches(dotted: str) -> bool:
    """Whether there is such a module, or such a name in it."""
    path, parts = ROOT, dotted.split(".")
    while parts:
        if (path / f"{parts[0]}.py").is_file():
            return len(parts) == 1 or parts[1] in defined(path / f"{parts[0]}.py")
        if not (path / parts[0]).is_dir():
            return (path / "__init__.py").is_file() and parts[0] in defined(path / "__init__.py")
        path /= parts.pop(0)
    return True


def test_python_blocks_compile():
    for page in NAMES:
        for language, block in CODE_BLOCK.findall(text_of(page)):
            if language == "python":
                compile(block, page, "exec")


def test_layers_are_those_that_lint_checks():
    tomllib = pytest.importorskip("tomllib", reason="TOML is read by Python 3.11 and newer")
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = next(
        c["layers"] for c in contracts if c["type"] == "layers" and c["containers"] == ["BreastCMSLLib"]
    )
    block = re.search(r"## Layers.*?```\n(.*?)```", text_of("docs/architecture.md"), re.DOTALL)[1]
    assert re.findall(r"\w+", block) == [part for layer in layers for part in re.findall(r"\w+", layer)]


# ---------------------------------------------------------------- how an exam is read


def tables(name: str, first: str) -> list[list[str]]:
    """The rows below the table head that begins with a cell, as cells."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text_of(name).splitlines()]
    begin = next(number for number, row in enumerate(rows) if row[:1] == [first]) + 2
    end = next(number for number in range(begin, len(rows)) if not rows[number])
    return rows[begin:end]


def test_names_of_scanners_are_read_as_the_page_says():
    from BreastCMSLLib.exam.names import dixon_word, looks_derived, looks_other_contrast, looks_subtracted

    def kind(name: str) -> str:
        if looks_derived(name) or looks_other_contrast(name):
            return "map"
        return "subtraction" if looks_subtracted(name) else "dixon" if dixon_word(name)[0] else "phase"

    rows = tables("docs/reading.md", "Scanner")
    assert len(rows) >= 5
    for _, *cells in rows:
        for cell, wanted in zip(cells, ("phase", "subtraction", "map", "dixon"), strict=True):
            assert {kind(name) for name in INLINE_CODE.findall(cell)} <= {wanted}, cell


def test_roles_and_options_of_reading_are_those_of_the_program():
    from BreastCMSLLib.exam.plan import ROLES

    named = [INLINE_CODE.findall(row[0]) for row in tables("docs/reading.md", "Role")]
    assert [name for (name,) in named] == list(ROLES)
    options = " ".join(row[0] for row in tables("docs/reading.md", "Option"))
    exam = text_of("BreastCMSLLib/cli.py").partition("def _add_exam")[2].partition("\ndef ")[0]
    assert set(OPTION.findall(options)) == set(re.findall(r'"(--[a-z][\w-]*)"', exam))


# ---------------------------------------------------------------- figures


def test_evidence_in_the_readme_is_that_of_the_card():
    rows = [line.split("|")[1:-1] for line in text_of("README.md").splitlines() if line.startswith("|")]
    table = {row[0].strip(): row[1].strip() for row in rows if len(row) == 2}
    evidence = json.loads(text_of("Resources/Models/breastcmsl.json"))["evidence"]

    def of(figures, key, percent=False):
        values = [100 * v if percent else v for v in (figures[key], *figures[f"{key}_95"])]
        return (
            "{:.0f} % ({:.0f}–{:.0f})".format(*values)
            if percent
            else "{:.3f} ({:.3f}–{:.3f})".format(*values)
        )

    classes, called, every = (evidence[key] for key in ("classification", "localisation", "localisation_all"))
    assert table["AUC"] == of(classes, "auc")
    assert table["Sensitivity; specificity"] == f"{of(classes, 'sensitivity')}; {of(classes, 'specificity')}"
    for row, figures in (("Cancers called suspicious", called), ("All cancers", every)):
        cell = table[f"{row}: finding within 10 mm"]
        assert cell == f"{of(figures['LESION'], 'hit10', percent=True)} of {figures['LESION']['n']}"


def test_the_model_card_is_that_of_the_shipped_model(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from model_card import card

    assert card() == text_of("docs/model_card.md"), "run python scripts/model_card.py"
