"""The model that ships: small enough, a clean tokenizer, and right answers."""

import random
from functools import cache
from itertools import islice

import pytest
from transformers import AutoTokenizer

from demo_model import WEIGHTS
from demo_model.answering import Guide
from demo_model.batches import OPENING_WEIGHTS, encode
from demo_model.corpus import load_corpus
from demo_model.dialogues import DialogueWriter, Message
from demo_model.held_out import Case, leaked, load_held_out
from demo_model.phrasing import expand, pattern, plain
from demo_model.tokenizer import CHAT_TEMPLATE
from deployments.config import AdapterLoading, ScriptedModel
from deployments.lora.files import checked

ADAPTERS = WEIGHTS.parent / "adapters"


@cache
def tokenizer():
    return AutoTokenizer.from_pretrained(WEIGHTS)


@cache
def guide() -> Guide:
    return Guide()


def test_weights_are_at_most_12_mb():
    assert (WEIGHTS / "model.safetensors").stat().st_size <= 12_000_000


@pytest.mark.parametrize(
    "text",
    [
        "Grüß Gott, 你好, привет, مرحبا",
        "👩‍💻 and e\u0301 stay as they are",
        "  two spaces ,\n\n\ttabs\r\nand ends  ",
        "8080 + 0.5 = ?\x00\x7f",
    ],
)
def test_tokenizer_round_trips_unicode(text):
    assert tokenizer().decode(tokenizer().encode(text, add_special_tokens=False)) == text


def test_template_takes_every_role_and_kind_of_content():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
    ]
    assert tokenizer().apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        "<|begin|><|system|>Be brief.<|end|><|user|>Hi\nthere<|end|><|assistant|><|end|><|tool|>42<|end|><|assistant|>"
    )


def test_shipped_template_is_the_one_in_the_source():
    assert tokenizer().chat_template == CHAT_TEMPLATE.read_text(encoding="utf-8")


def test_training_sees_the_tokens_of_the_template():
    dialogue = (Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello!\n\n- one"))
    messages = [{"role": message.role, "content": message.text} for message in dialogue]
    assert encode(dialogue, tokenizer()).ids == tokenizer().apply_chat_template(messages, return_dict=False)


def test_the_system_prompt_does_not_count_in_the_loss():
    encoded = encode((Message("system", "Be kind."), Message("assistant", "Hi")), tokenizer())
    answer = len(tokenizer().encode("Hi", add_special_tokens=False)) + 1
    assert encoded.weights[-answer:] == list(OPENING_WEIGHTS[:answer])
    assert not any(encoded.weights[:-answer])


def test_pattern_matches_what_expand_writes():
    slots = {"start": ("start", "bring up")}
    rng = random.Random(0)
    template = "how do [I|you] {start} [it|]"
    written = {expand(template, slots, rng) for _ in range(200)}
    assert "how do you bring up" in written
    matcher = Case("", (rf"^(?:{pattern(template, slots)})$",))
    assert all(not matcher.missing(plain(sentence)) for sentence in written)


def test_held_out_questions_are_not_in_the_training_text():
    cases, corpus = load_held_out(), load_corpus()
    assert len(cases) >= 41
    assert leaked(cases, corpus) == []


def test_a_planted_question_is_found():
    assert leaked([Case("Hey, how do I START ChatLLM?", ())], load_corpus())


def test_dialogues_leave_out_what_they_are_told_to():
    def asked(writer: DialogueWriter) -> set[str]:
        return {plain(said.text) for each in islice(writer, 300) for said in each if said.role == "user"}

    corpus = load_corpus()
    left_out = frozenset(asked(DialogueWriter(corpus, 5)))
    assert not asked(DialogueWriter(corpus, 6, without=left_out)) & left_out
    assert asked(DialogueWriter(corpus, 6)) & left_out


def test_guide_greets_and_stops_by_itself():
    answer = guide().answer("Good day to you, little machine!", max_tokens=120)
    assert "guide" in answer or "ChatLLM" in answer
    assert len(answer) < 300


@pytest.mark.parametrize(
    "question",
    [
        "Could Phi-4 run here in place of the demo model?",
        "I want to change some settings. Which file is it?",
        "Would the very same prompt be computed twice?",
    ],
)
def test_guide_knows_the_product(question):
    case = next(case for case in load_held_out() if case.question == question)
    assert case.missing(guide().answer(question)) == []


def test_the_adapter_that_ships_is_small_and_one_that_can_be_loaded():
    model = ScriptedModel(
        id="smollm2", kind="scripted", adapter_loading=AdapterLoading(folders=(str(ADAPTERS),), max_rank=8)
    )
    found = checked(model, "pirate", "pirate")
    assert (found.rank, found.size_bytes < 1_000_000) == (8, True)
