"""The bundled models' tokenizer: byte-level BPE with a ChatML template, trained in a second.

Bytes are the base alphabet, so any text survives a round trip; no normalizer touches it. Digits
stay single tokens: a model that counts then sees the same digit everywhere.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTEXT = 2048

# As Qwen splits: a word with the space before it, one digit, punctuation with the line ends
# behind it, white space.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)

# Words of the tasks to come (word problems, lists, questions), so that they are not bytes there.
EVERYDAY_TEXT = """\
system user assistant the a an and or but not no yes to of in is it that was for on are with as his
they at be this have from had by word what all were we when your can said there use each which she
do how their if will up other about out many then them these so some her would make like him into
time has look two more write go see number way could people my than first water been call who its
now find long down day did get come made may part over new take only little work know place year
live me back give most very after thing our just name good sentence man think say great where help
through much before line right too mean old any same tell boy follow came want show also around
three small set put end does another well large must big even such because turn here why ask went
men read need land different home us move try kind hand picture again change off play spell air
away animal house point page letter mother answer found study still learn should world
one two three four five six seven eight nine ten eleven twelve hundred thousand half twice total
left more less each buys buy bought sells sell sold gives gave has had have many much cost costs
price dollars cents apples pears books pens boxes bags coins eggs cards hours minutes days weeks
plus minus times divided equals sum difference product answer step solve question therefore
list reverse sort first last second third remove add swap repeat upper lower join count words
items letters longest shortest alphabetical order replace every copy translate english sentence
red green blue yellow black white cat dog bird fish horse tree river house door window table chair
= + - * / ( ) [ ] { } : ; , . ! ? " ' #### -> \n
The A I It He She We They You What How Who When Where Why Write Give Add Remove Sort Reverse Repeat
Translate Answer Question Step List Count First Then Now Here There This That My Your
"""


def train_tokenizer(texts: Iterable[str], vocab_size: int = 1024) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer; the same texts give the same ids.

    Ids 0, 1, 2 are pad (`<|endoftext|>`), `<|im_start|>` and `<|im_end|>`, which ends a turn and
    is the eos. `encode.encode_examples` keeps user text from turning into these.

    Args:
        texts: training texts; `EVERYDAY_TEXT` is a useful companion.
        vocab_size: number of ids, 259 (bytes and specials) or more; fewer come out if the texts
            have no more pairs to merge.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, TURN_START, TURN_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=TURN_END,
        additional_special_tokens=[TURN_START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
