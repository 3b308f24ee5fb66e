"""What the tutor does not do, decided before any model writes: by patterns, and by a small classifier over embeddings.

Patterns catch the usual wordings, also in base64, hex, ROT13, backwards or in look-alike letters. The classifier (agents/classifier.py) has
seen the examples in data/intents/ and catches the others; both are measured by the attack suite
(data/eval/attacks.jsonl), which neither was made from. Injections inside notes, uploads and tool
results need no pattern: those texts are only ever quoted as numbered sources, nothing they say can start a tool, and
every sentence of an answer must be supported by a source.
"""

from __future__ import annotations

import base64
import codecs
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from agents.classifier import Classifier

THRESHOLD = 0.4  # of the three declined kinds together
SURE = 0.5  # from which what a message asks for is taken as known
Route = Literal["answer", "exam_dump", "prompt_leak", "harmful"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`answer` lets the message through; every other route comes with what is said instead.

    `intent` is what the message asks for, by the examples' labels; empty where that is not sure.
    """

    route: Route
    reply: str = ""
    intent: str = ""


_REPLIES: dict[Route, str] = {
    "exam_dump": (
        "NVIDIA's real exam questions are under a non-disclosure agreement, so I neither have them nor help to pass "
        "them on. I can ask you practice questions written for this tutor instead: say “quiz me on RAG”, for example."
    ),
    "prompt_leak": (
        "My instructions stay with me; they hold nothing you need for the exam. They are open source, so you can read "
        "them in the project's files. Ask me about any subject of NCA-GENL."
    ),
    "harmful": (
        "I don't help with that. I am a study tutor for NVIDIA's NCA-GENL exam: ask me about any of its subjects, "
        "responsible use of AI among them."
    ),
}

_ASKS = r"(?:give|send|show|share|tell|get|leak|post|list|paste|dump|provide|find|need|want|have|write down|recite|reveal|repeat|print|output|display|copy|reproduce|quote|expose)"
_EXAM = r"(?:exam|test|certification|nca[- ]?genl|certif\w+)"
_DUMPS = (
    rf"\b(?:brain|exam|test|question|cert\w*)?\s*dumps?\b.{{0,60}}\b(?:{_EXAM}|questions?|answers?)\b",
    rf"\b{_EXAM}\b.{{0,40}}\bdumps?\b|\bbrain ?dumps?\b",
    rf"\b(?:real|actual|live|official|leaked|genuine|true|exact|authentic|original|verbatim|current|recent)\b[^.?!]{{0,40}}\b{_EXAM}\b[^.?!]{{0,30}}\b(?:questions?|items?|answers?|paper)\b",
    rf"\b(?:real|actual|live|leaked|genuine|exact|authentic|verbatim)\b[^.?!]{{0,25}}\b(?:questions?|items?)\b[^.?!]{{0,60}}\b{_EXAM}\b",
    r"\b(?:questions?|items?)\b[^.?!]{0,60}\b(?:from|of|on|in)\b[^.?!]{0,20}\b(?:the |your |their |my |his |her )?(?:real|actual|live|official)\b",
    rf"\b(?:remember(?:ed|s)?|recall(?:ed|s)?|memori[sz]ed|saw|seen|got|had|came up|appeared)\b[^.?!]{{0,50}}\bquestions?\b[^.?!]{{0,60}}\b(?:on|in|from|at|during)\b[^.?!]{{0,20}}\b{_EXAM}\b",
    r"\b(?:friend|colleague|coworker|classmate|someone|people|others|forum|reddit|telegram|discord)\b[^.?!]{0,60}\b(?:remember|recall|memori[sz]|leak|screenshot|photo|shared?|posted)\w*[^.?!]{0,60}\bquestions?\b",
    rf"\b(?:leak\w*|screenshots?|photos?|answer key)\b[^.?!]{{0,40}}\b(?:{_EXAM}|questions?)\b",
    rf"\bquestions?\b[^.?!]{{0,40}}\b(?:will be|were|are going to be|appear|come up|that came)\b[^.?!]{{0,20}}\b(?:on|in|at)\b[^.?!]{{0,25}}\b{_EXAM}\b",
    rf"\b(?:answer key|key)\b[^.?!]{{0,30}}\b(?:to|for|of)\b[^.?!]{{0,25}}\b{_EXAM}\b",
)  # fmt: skip
_LEAKS = (
    rf"\b{_ASKS}\b[^.?!]{{0,40}}\b(?:your|this chat's|this bot's|the tutor's)\b[^.?!]{{0,25}}\b(?:system |initial |hidden |secret |original |internal |full |exact |developer )*(?:prompts?|instructions?|rules|guidelines|configuration|directives?)\b",
    rf"\b{_ASKS}\b[^.?!]{{0,30}}\b(?:the|that|those|all)?\s*(?:text|words?|messages?|instructions?|everything|lines?|content)\b[^.?!]{{0,25}}\b(?:above|before this|before my|preceding|prior to|you were given|you received|you were told)\b",
    r"\bwhat\b[^.?!]{0,25}\b(?:your (?:system |initial |hidden |secret |original |exact )*(?:prompt|instructions)|were you (?:told|instructed|given))\b",
    r"\b(?:ignore|disregard|forget|override|bypass)\b[^.?!]{0,30}\b(?:all |any |the |your |my |previous |prior |above |earlier )+(?:instructions?|rules?|prompts?|guidelines?|directions?|constraints?|restrictions?)\b",
    r"\brepeat\b[^.?!]{0,30}\b(?:word for word|verbatim)\b[^.?!]{0,40}\b(?:you|your|above|system|start)\b",
    r"\b(?:starting|begin\w*) with\b[^.?!]{0,15}\byou are\b",
    r"\byou are now\b[^.?!]{0,40}\b(?:dan|unrestricted|jailbroken|free|evil|developer mode|no longer|without)\b",
    r"\b(?:developer|debug|god|admin|maintenance|jailbreak|dan) mode\b[^.?!]{0,40}\b(?:on|enabled?|activate|enter|switch|now)\b|\b(?:enter|activate|enable|switch (?:in)?to)\b[^.?!]{0,20}\b(?:developer|debug|god|admin|maintenance|jailbreak|dan) mode\b",
    r"\b(?:pretend|act|roleplay|role-play|imagine)\b[^.?!]{0,50}\b(?:no (?:rules|restrictions|limits|filters|guidelines)|without (?:any )?(?:rules|restrictions|limits|filters|guidelines)|unrestricted|unfiltered|uncensored|evil)\b",
)  # fmt: skip
_HOW = r"(?:how (?:do|can|would|to|could|should)|help me|teach me|show me|give me|tell me|write|make|build|create|explain how|steps|instructions|recipe|guide|code|script|best way|i want to|i need to|can you|generate|produce|plan)"
_HARMS = (
    rf"\b{_HOW}\b[^.?!]{{0,60}}\b(?:bombs?|explosives?|weapons?|nerve agents?|poison\w*|meth(?:amphetamine)?|pipe ?bombs?|grenades?|ricin|molotov)\b",
    rf"\b{_HOW}\b[^.?!]{{0,60}}\b(?:malware|ransomware|keyloggers?|virus(?:es)?|trojans?|botnets?|spyware|phishing (?:e?mails?|pages?|sites?|messages?|campaigns?|kits?)|ddos|rootkits?)\b",
    rf"\b{_HOW}\b[^.?!]{{0,60}}\b(?:hack|break|crack|steal|spy|stalk|blackmail|forge|counterfeit|launder|impersonate|dox|harass|scam|defraud)\w*\b[^.?!]{{0,50}}\b(?:into|account|password|wifi|wi-fi|phone|bank|card|identity|money|someone|people|person|neighbou?r|colleague|coworker|boss|ex|wife|husband|girlfriend|boyfriend|elderly|customers?|users?|credentials|location|id|documents?|certificates?|network|server|exam|camera|email)\b",
    r"\b(?:kill|hurt|harm|attack|poison|murder|beat up|injure)\b[^.?!]{0,25}\b(?:myself|himself|herself|someone|somebody|people|my|him|her|them|a person|neighbou?r)\b",
    rf"\b{_HOW}\b[^.?!]{{0,40}}\b(?:cheat|cheating)\b[^.?!]{{0,40}}\b(?:{_EXAM}|proctor\w*|test)\b|\b(?:fool|trick|evade|bypass|get (?:around|past))\b[^.?!]{{0,30}}\b(?:proctor\w*|invigilator|exam (?:software|security|monitor\w*))\b",
    rf"\b{_HOW}\b[^.?!]{{0,60}}\b(?:deepfakes?|fake (?:news|reviews|id|ids|passports?|certificates?|medical)|disinformation|hate speech|slurs|racist|sexist)\b",
    r"\b(?:write|give|make|generate|tell|say)\b[^.?!]{0,40}\b(?:insult\w*|hateful|racist|sexist|slurs?|derogatory|nazi|demeaning)\b",
    rf"\b{_HOW}\b[^.?!]{{0,40}}\b(?:take|sit|do|pass)\b[^.?!]{{0,30}}\b(?:{_EXAM})\b[^.?!]{{0,20}}\b(?:for me|in my place|on my behalf|for someone|in .{{1,20}} place)\b",
)  # fmt: skip
# Talking about such things as a subject is what the exam itself does.
_ABOUT = re.compile(
    r"\b(?:what (?:is|are|does|do)|what's|why (?:is|are|do|does|should)|define|definition|difference between|explain (?:what|why)|"
    r"(?:prevent|mitigate|detect|defend|reduce|stop|protect|avoid|guard|filter|resist|handle|counter|test)\w*)\b", re.IGNORECASE
)  # fmt: skip
_KINDS: tuple[tuple[Route, tuple[str, ...]], ...] = (
    ("exam_dump", _DUMPS),
    ("harmful", _HARMS),
    ("prompt_leak", _LEAKS),
)
_PATTERNS = [(route, [re.compile(p, re.IGNORECASE) for p in patterns]) for route, patterns in _KINDS]
# What a text from outside says to whoever reads it for the learner: a model, not a reader of notes.
_TO_A_MODEL = re.compile(
    r"\b(?:notes?|messages?|notices?|instructions?|comments?)[\s_-]+(?:to|for|from)[\s_-]+(?:the[\s_-]+)?(?:calling[\s_-]+)?"
    r"(?:model|assistant|ai|tutor|llm|agent|learner[\s_-]profile)\b|\bcalling model\b|"
    r"\b(?:system|admin\w*|developer)[\s_-]+(?:override|message|prompt|notice|note|command)\b\s*(?::|from\b)|"
    r"\b(?:ignore|disregard|forget)\b[^.]{0,40}\b(?:instructions?|rules?|prompts?|previous|above|everything)\b|"
    r"\b(?:tell|inform|advise|ask|remind|convince) (?:the|your) (?:learner|user|student|reader|human)\b|"
    r"\b(?:learner|user|student) (?:is|must be|has to be|should be) (?:told|informed|advised|asked|sent)\b|"
    r"\ball (?:answers|replies|responses)\b[^.]{0,30}\b(?:must|have to|should|end|begin)\b|"
    r"\b(?:end|begin|start|sign|close) (?:your|the|every|each) (?:reply|answer|response)\b|"
    r"\b(?:print|reveal|show|write out|list) (?:your|the) (?:complete |full |hidden |system |earlier )*(?:instructions|prompt|answer|conversation)\b|"
    r"\bcall (?:the )?(?:tool )?[a-z]+_[a-z_]+\b",
    re.IGNORECASE,
)
_ROLE_BLOCK = re.compile(
    r"<\s*(system|assistant|user|developer|tool)\s*>.*?(?:<\s*/\s*\1\s*>|\Z)", re.IGNORECASE | re.DOTALL
)
_CODED = re.compile(r"\b[A-Za-z0-9+/]{24,}={0,2}")
_HEX = re.compile(r"\b(?:[0-9a-f]{2}[\s:,]?){12,}\b", re.IGNORECASE)


class Guard:
    """Patterns, and the classifier where there is one."""

    def __init__(self, classifier: Classifier | None = None) -> None:
        self._classifier = classifier

    def check(self, message: str) -> Verdict:
        """The verdict on a learner's message, and what it asks for where the classifier is sure."""
        by_pattern = matched(message)
        if by_pattern is not None:
            return Verdict(by_pattern, _REPLIES[by_pattern])
        if self._classifier is None:
            return Verdict("answer")
        chances = self._classifier.chances(message)
        declined = {route: chances.pop(route, 0.0) for route in _REPLIES}
        if sum(declined.values()) >= THRESHOLD:
            route = max(declined, key=lambda each: declined[each])
            return Verdict(route, _REPLIES[route])
        intent = max(chances, key=lambda each: chances[each], default="")
        return Verdict("answer", intent=intent if chances.get(intent, 0.0) >= SURE else "")


def matched(message: str) -> Route | None:
    """The route whose pattern a message matches, also in base64, hex, ROT13, backwards, spaced-out or look-alike letters."""
    for text in _readings(message):
        for route, patterns in _PATTERNS:
            if any(p.search(text) for p in patterns) and not (route != "exam_dump" and _subject(text)):
                return route
    return None


def without_orders(text: str) -> str:
    """A text from outside without what it says to a model: role blocks, and lines from the first sentence that orders on.

    A filter for what usually comes, no proof: what passes is still only a source, and nothing it says can start a tool.
    """
    kept = []
    for line in _ROLE_BLOCK.sub("", text).splitlines():
        if found := _TO_A_MODEL.search(line):
            before = max(line.rfind(stop, 0, found.start()) + 1 for stop in ".!?")
            line = line[:before].rstrip()
            if not line:
                continue
        kept.append(line)
    return "\n".join(kept).strip()


def _subject(text: str) -> bool:
    """Whether the message asks about the matter rather than for it."""
    match = _ABOUT.search(text)
    return (
        match is not None
        and match.start() < 40
        and not re.search(r"\b(?:your|ignore|disregard|for me)\b", text, re.IGNORECASE)
    )


def _readings(message: str) -> list[str]:
    plain = " ".join(
        "".join(c for c in unicodedata.normalize("NFKC", message) if unicodedata.category(c) != "Cf").split()
    )
    readings = [
        plain,
        re.sub(r"\b(?:\w[ .\-_]){4,}\w\b", lambda m: re.sub(r"[ .\-_]", "", m[0]), plain),
        codecs.encode(plain, "rot13"),
        plain[::-1],
    ]
    readings.append(plain.translate(str.maketrans("013457@$", "oieastas")))
    coded: list[tuple[Callable[[str], bytes], str]]
    coded = [
        (partial(base64.b64decode, validate=True), text + "=" * (-len(text) % 4)) for text in _CODED.findall(plain)
    ]
    coded += [(bytes.fromhex, re.sub(r"[\s:,]", "", text)) for text in _HEX.findall(plain)]
    for decode, text in coded:
        try:
            readings.append(" ".join(decode(text).decode().split()))
        except ValueError:  # no such code after all, or no text in it
            continue
    return readings
