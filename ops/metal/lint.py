"""Looks in the text of a kernel file for what Metal forbids and clang allows."""

from __future__ import annotations

import re

_FORBIDDEN = {
    r"\bdouble\b": "double does not exist in Metal",
    r"\bgoto\b": "goto does not exist in Metal",
    r"\b(?:new|delete)\b": "there is no allocation in Metal",
    r"\b(?:try|catch|throw)\b": "there are no exceptions in Metal",
    r"\bvirtual\b|\bdynamic_cast\b|\btypeid\b": "there are no virtual functions and no type information in Metal",
    r"\bstd::": "C++'s own library does not exist in Metal",
    r"\[[&=]?\]\s*\(": "lambdas do not exist in Metal before 3.2",
    r"\bauto\s*&&": "forwarding references are C++, not Metal",
    r"\blong\s+double\b|\blong\s+long\b": "Metal's long has 64 bits, there is no other",
    r"\b(?:static|thread_local)\s+\w+[\s*]+\w+\s*(?:=|;)": "there are no static variables in Metal",
}
_FUNCTION = re.compile(r"\b(?:inline|kernel)\s+[\w<>]+\s+\**(\w+)\s*\(")
_LOCAL_ARRAY = re.compile(r"\bthreadgroup\s+\w+\s+\w+\s*\[[^\]]")
_CONSTANT = re.compile(r"^(?:static\s+)?(?:const|constexpr)\s+\w+\s+\w+\s*=", re.MULTILINE)


def problems(text: str) -> list[str]:
    """Sentences; none for a good text. Comments are not looked at."""
    code = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    sentences = [sentence for pattern, sentence in _FORBIDDEN.items() if re.search(pattern, code)]
    if _LOCAL_ARRAY.search(code):
        sentences.append(
            "threadgroup memory in a body: the host's threads would each have their own; pass it as an argument"
        )
    if _CONSTANT.search(code):
        sentences.append("a constant of the file is not in address space `constant`")
    return sentences + [f"{name} calls itself, through {way}" for name, way in _recursions(code)]


def _recursions(code: str) -> list[tuple[str, str]]:
    """(function, the first one that it calls on its way back to itself)."""
    definitions = list(_FUNCTION.finditer(code))
    names = {match.group(1) for match in definitions}
    bodies = dict.fromkeys(names, "")
    for match, end in zip(definitions, [*(later.start() for later in definitions[1:]), len(code)]):
        bodies[match.group(1)] += code[match.end() : end]
    calls = {name: {n for n in names if re.search(rf"\b{n}\s*(?:<[^>]*>)?\(", body)} for name, body in bodies.items()}

    def reaches(start: str, goal: str, seen: set[str]) -> bool:
        return goal in calls[start] or any(
            reaches(step, goal, seen | {step}) for step in calls[start] if step not in seen
        )

    return [
        (name, step)
        for name in sorted(calls)
        for step in sorted(calls[name])
        if step == name or reaches(step, name, {step})
    ]
