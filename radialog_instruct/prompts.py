"""Compiles and renders the Jinja templates: one file a task, one block a variant.

Users may bring their own templates, so they run in Jinja's sandbox; an undefined variable is an error, never an empty
string. A template's identity is the hash of its bytes, together with the protocol constants where it uses them.
"""

from __future__ import annotations

import re
import traceback
from functools import cache, lru_cache
from hashlib import blake2b
from pathlib import Path

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError, TemplateNotFound, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from radialog_instruct.assets import templates_dir
from radialog_instruct.errors import UsageError
from radialog_instruct.records import TemplateUse

CONSTANTS = "chat/radialog_v2"
"""The template that holds the protocol constants: published wordings that must stay verbatim."""

_VERSION = re.compile(r"version:\s*(\d+)")
_VARIANT = re.compile(r"(?:(?:add|remove|both)_)?v\d\d")


class PromptLibrary:
    """The templates of one folder.

    Args:
        folder: Folder with ``instruct/``, ``chat/`` and so on; the distribution's own by default.

    Raises:
        UsageError: If the folder does not exist.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else templates_dir()
        if not self.folder.is_dir():
            raise UsageError("no such template folder", where=str(self.folder), mend="pass an existing folder")
        self._environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(self.folder),
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["constant"] = self._constant
        self._templates: dict[str, Template] = {}
        self._uses: dict[tuple[str, str], TemplateUse] = {}
        # Most instructions are rendered hundreds of thousands of times with a handful of variables.
        self._rendered = lru_cache(maxsize=8192)(self._render)

    def variants(self, task: str) -> tuple[str, ...]:
        """Return the ids of a task's instruction variants, for example ``("v01", ..., "v10")``.

        Raises:
            UsageError: If the template is missing, cannot be compiled or has no variant.
        """
        names = tuple(name for name in self.blocks(f"instruct/{task}") if _VARIANT.fullmatch(name))
        if not names:
            raise UsageError(
                "the template has no variant block",
                where=str(self._file(f"instruct/{task}")),
                mend="add {% block v01 %}...{% endblock %}",
            )
        return names

    def blocks(self, name: str) -> tuple[str, ...]:
        """Return the names of a template's blocks, sorted.

        Raises:
            UsageError: If the template is missing or cannot be compiled.
        """
        return tuple(sorted(self._template(name).blocks))

    def use(self, task: str, variant: str) -> TemplateUse:
        """Return the identity of a task's variant, as stored with every sample.

        Raises:
            UsageError: If the template is missing or states no version.
        """
        key = (task, variant)
        if key not in self._uses:
            name = f"instruct/{task}"
            version = _VERSION.search(self._source(name))
            if version is None:
                raise UsageError(
                    "the template states no version",
                    where=f"{self._file(name)}:1",
                    mend="begin the file with {#- version: 1 -#}",
                )
            self._uses[key] = TemplateUse(f"{task}/{variant}", int(version[1]), self.hash(name))
        return self._uses[key]

    def hash(self, name: str) -> str:
        """Return the blake2b-128 of a template's bytes, and of the protocol constants where it uses them.

        Args:
            name: Template name without suffix, for example ``"instruct/impression"``.
        """
        source = self._source(name)
        hasher = blake2b(source.encode(), digest_size=16)
        if "constant(" in source:
            hasher.update(self._source(CONSTANTS).encode())
        return hasher.hexdigest()

    def render(self, name: str, block: str, **variables: object) -> str:
        """Render one block of a template, stripped of surrounding blanks.

        Args:
            name: Template name without suffix, for example ``"instruct/impression"``.
            block: Name of the block, for example ``"v03"``.
            **variables: The template's variables.

        Raises:
            UsageError: If the template or block is missing, a variable is undefined, or the sandbox refuses something;
                it names file, line and variable.
        """
        try:
            return self._rendered(name, block, tuple(sorted(variables.items())))
        except TypeError:  # a variable that cannot be hashed
            return self._render(name, block, tuple(sorted(variables.items())))

    def _render(self, name: str, block: str, values: tuple[tuple[str, object], ...]) -> str:
        variables = dict(values)
        template = self._template(name)
        function = template.blocks.get(block)
        if function is None:
            known = ", ".join(self.blocks(name))
            raise UsageError(f"no block {block!r}", where=str(self._file(name)), mend=f"the blocks are: {known}")
        try:
            return "".join(function(template.new_context(variables))).strip()
        except (UndefinedError, SecurityError) as error:
            given = ", ".join(sorted(variables)) or "none"
            raise UsageError(
                str(error), where=self._failing_line(name, error), mend=f"the variables given are: {given}"
            ) from error
        except TemplateError as error:
            raise UsageError(str(error), where=self._failing_line(name, error)) from error

    def _constant(self, block: str, **variables: object) -> str:
        for value in variables.values():
            if isinstance(value, StrictUndefined):
                str(value)  # raises here, so that the error names the calling template and not the constants
        return self.render(CONSTANTS, block, **variables)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.jinja"

    def _source(self, name: str) -> str:
        try:
            return self._file(name).read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError("no such template", where=str(self._file(name)), mend="check the name") from error

    def _template(self, name: str) -> Template:
        if name not in self._templates:
            try:
                self._templates[name] = self._environment.get_template(f"{name}.jinja")
            except TemplateNotFound as error:
                raise UsageError("no such template", where=str(self._file(name)), mend="check the name") from error
            except TemplateSyntaxError as error:
                raise UsageError(error.message or "syntax error", where=f"{self._file(name)}:{error.lineno}") from error
        return self._templates[name]

    def _failing_line(self, name: str, error: Exception) -> str:
        # Jinja compiles a template with its own file name and lines, so the innermost such frame is the culprit.
        # The innermost frame of compiled template code is the culprit; Jinja knows which template line it came from.
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            for template in self._templates.values():
                if frame.filename == template.filename and frame.lineno is not None:
                    return f"{frame.filename}:{template.get_corresponding_lineno(frame.lineno)}"
        return str(self._file(name))


@cache
def default_prompts() -> PromptLibrary:
    """Return the distribution's own templates, compiled once a process."""
    return PromptLibrary()
