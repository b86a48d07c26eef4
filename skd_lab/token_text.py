"""Text and raw bytes of single tokens, right also where a character is split over several."""

from transformers import PreTrainedTokenizerBase


class TokenText:
    """Text and raw bytes of single tokens; the bytes are right where the text cannot be."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._byte_of = {char: byte for byte, char in _byte_level_alphabet().items()}
        pieces = tokenizer.convert_ids_to_tokens(range(min(len(tokenizer), 2000)))
        # byte-level vocabularies write a space as one of their own letters; SentencePiece has its
        # own mark for it, and writes bytes as <0xE2>
        self._byte_level = any("\u0120" in (piece or "") for piece in pieces)

    def of(self, token: int) -> str:
        """The token decoded alone; may hold U+FFFD where a character is split over tokens."""
        piece = self.tokenizer.convert_ids_to_tokens(token)
        if not self._byte_level and isinstance(piece, str) and "\u2581" in piece:
            return piece.replace("\u2581", " ")  # decoding alone would drop a leading space
        return self.tokenizer.decode([token], clean_up_tokenization_spaces=False)

    def bytes_of(self, token: int) -> bytes:
        """The token's raw bytes."""
        piece = self.tokenizer.convert_ids_to_tokens(token)
        if not isinstance(piece, str):
            return b""
        if token in self.tokenizer.all_special_ids:
            return piece.encode()
        if self._byte_level and all(char in self._byte_of for char in piece):
            return bytes(self._byte_of[char] for char in piece)
        if piece.startswith("<0x") and piece.endswith(">") and len(piece) == 6:
            return bytes([int(piece[3:5], 16)])
        return piece.replace("\u2581", " ").encode()


def _byte_level_alphabet() -> dict[int, str]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the rest from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    return letters | {byte: chr(0x100 + n) for n, byte in enumerate(others)}
