"""What a server needs to know of a model that was written: where an answer ends."""

import tiny
from assent.steps.export import _stop_where_we_do


def test_a_turns_own_end_is_told_to_servers() -> None:
    """A template that closes turns with <bos> here, and the conversation with EOS, as Phi-3's kind does."""
    model, tokenizer = tiny.policy(), tiny.tokenizer()
    before = model.generation_config.eos_token_id
    _stop_where_we_do(model, tokenizer)
    assert model.generation_config.eos_token_id == before  # EOS ends its turns: nothing to add
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %} {{ bos_token }}{% endif %}{% endfor %}"
        "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"
    )
    _stop_where_we_do(model, tokenizer)
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id, tokenizer.bos_token_id]
