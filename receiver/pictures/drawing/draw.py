"""Draws with Pillow. Each picture is shrunk as soon as it is read, so that memory holds only one of full size.

What is wrong with a picture is reported with it. Thumbnails and sheets are JPEGs, which every mail client shows;
transparent pictures lie on white.
"""

import io
import math
import warnings
from typing import BinaryIO, Literal

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageDraw,
    ImageFont,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from receiver.pictures.drawing.protocol import SMALL, TINY, DrawResult

# Named here, so that they are imported once, and not again by each picture's process.
FORMATS = tuple(
    it.format
    for it in (
        PngImagePlugin.PngImageFile,
        JpegImagePlugin.JpegImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
        AvifImagePlugin.AvifImageFile,
    )
)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a picture's process must not start threads
_LADEN = ("WEBP", "AVIF")  # their decoders need three times as much memory for each pixel
ALONE = 1024  # pixels, the longer side of a picture that is alone on the sheet
SIDE = 1600  # pixels, either side of a sheet at most
HEAVY = 1_000_000  # bytes of a sheet at most
CAPTION = 24  # characters at most

_GAP = 16  # pixels between pictures and around them
_GROUND = (243, 243, 244)
_PAPER = (255, 255, 255)
_BADGE, _EDGE, _INK = (24, 25, 28), (255, 255, 255), (255, 255, 255)
_FINE = 4  # badges are drawn this many times as large, then shrunk, which smooths them
_QUALITIES = (85, 76, 64, 50, 36)
_SPARE = 1.5  # decoded or averaged down to at least this many times the wanted size; a good filter does the rest
_STRIP = 1 << 20  # pixels that are flattened at once
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)  # these orientations swap width and height

Size = tuple[int, int]
Picture = Image.Image

# We refuse by the header. This is the safety net, for formats that learn their size later.
warnings.simplefilter("error", Image.DecompressionBombWarning)


class SheetCanvas:
    """A contact sheet that is being drawn, for `count` pictures."""

    def __init__(self, count: int, pixels: int) -> None:
        self._alone = count == 1
        self._pixels = Image.MAX_IMAGE_PIXELS = pixels
        columns = columns_for(count)
        self._box = (ALONE, ALONE) if self._alone else (_cell_side(columns), _cell_side(-(-count // columns)))
        self._tiles: list[tuple[str, Picture]] = []

    def draw_picture(self, file: BinaryIO) -> tuple[DrawResult, Picture | None]:
        """Draw a picture's thumbnail, and its tile for the sheet if it can be read. Errors are in the result."""
        size: tuple[int | None, int | None] = None, None
        try:
            # Pillow allocates a whole WebP when it opens it, and four times as much until it is read.
            if (early := webp_size(file)) and early[0] * early[1] * 3 > self._pixels:
                return DrawResult(None, *early, _too_large(early)), None
            with Image.open(file, formats=FORMATS) as opened:
                # Pillow turns a TIFF by itself.
                turn = 1 if opened.format == "TIFF" else opened.getexif().get(_ORIENTATION, 1)
                size = width, height = opened.size[::-1] if turn in _LYING else opened.size
                if width * height * (3 if opened.format in _LADEN else 1) > self._pixels:
                    return DrawResult(None, *size, _too_large((width, height))), None
                wanted = fit_size((width, height), (max(self._box[0], SMALL), max(self._box[1], SMALL)))
                drawn = _decode_small(opened, wanted[::-1] if turn in _LYING else wanted)
            if turn in _TURNS:
                drawn = drawn.transpose(_TURNS[turn])
            small = _resize_to(drawn, fit_size(drawn.size, (SMALL, SMALL)))
            tiny = _resize_to(small, fit_size(small.size, (TINY, TINY)))
            again = None if tiny is small else _encode_jpeg(tiny, 82)
            shown = DrawResult(_encode_jpeg(small, 82), *size, tiny=again)
            return shown, _resize_to(drawn, fit_size(drawn.size, self._box))
        except UnidentifiedImageError:
            error = "not a picture of a kind that is drawn, or damaged at its beginning"
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            error = f"too large: more than {self._pixels:,} pixels"
        except MemoryError:
            error = "too large: it needs more memory than the limit"
        except Exception as fault:  # a tampered file can make Pillow raise anything
            error = f"damaged: {_one_line(str(fault)) or type(fault).__name__}"
        return DrawResult(None, *size, error), None

    def add_tile(self, caption: str, size: Size, pixels: bytes) -> None:
        """Add a tile to the sheet: rows of red, green and blue, a byte each."""
        self._tiles.append((caption, Image.frombytes("RGB", size, pixels)))

    def encode_sheet(self) -> bytes | None:
        """The sheet as a JPEG; None if it is empty."""
        if not self._tiles:
            return None
        if self._alone:
            return _jpeg_within_limit(self._tiles[0][1])
        return _jpeg_within_limit(_arrange_tiles(self._tiles))


def columns_for(count: int) -> int:
    """How many pictures stand side by side: 2 of up to 4, then up to 6, with the last row as full as possible."""
    if count <= 4:
        return min(count, 2)
    root = math.isqrt(count - 1) + 1
    if root >= 6:
        return 6
    return min((root, root + 1), key=lambda columns: (-count % columns, columns))


def fit_size(size: Size, box: Size) -> Size:
    """The size of a picture fitted into a box: keeps its ratio, never enlarges it."""
    scale = min(1.0, box[0] / size[0], box[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def webp_size(file: BinaryIO) -> Size | None:
    """The size in the header of a WebP file; None for other files. Leaves the file at its beginning."""
    head = file.read(30)
    file.seek(0)
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return None

    def read_number(start: int, end: int) -> int:
        return int.from_bytes(head[start:end], "little")

    # RFC 9649, sections 2.5 to 2.7
    match head[12:16]:
        case b"VP8X":
            return read_number(24, 27) + 1, read_number(27, 30) + 1
        case b"VP8L":
            return (read_number(21, 25) & 0x3FFF) + 1, (read_number(21, 25) >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return read_number(26, 28) & 0x3FFF, read_number(28, 30) & 0x3FFF
    return None


def _too_large(size: Size) -> str:
    return f"too large: {size[0]} × {size[1]} pixels"


def _cell_side(count: int) -> int:
    return (SIDE - _GAP) // count - _GAP


def _decode_small(opened: Picture, wanted: Size) -> Picture:
    """Decode a picture and shrink it; of an animated one, its first frame."""
    width, height = wanted
    opened.draft(None, (math.ceil(width * _SPARE), math.ceil(height * _SPARE)))  # only JPEGs can be decoded smaller
    opened.load()
    factor = max(1, math.floor(min(opened.width / width, opened.height / height) / _SPARE))
    return _resize_to(_flatten_to_rgb(opened, factor), wanted)


def _flatten_to_rgb(image: Picture, factor: int) -> Picture:
    """The picture in RGB on white, averaged down by a whole factor; in strips, since a copy takes too much memory."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image.reduce(factor) if factor > 1 else image
    plain = Image.new("RGB", (math.ceil(image.width / factor), math.ceil(image.height / factor)))
    rows = max(1, _STRIP // (image.width * factor)) * factor
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        if strip.mode.startswith("I"):  # 16-bit greys, which Pillow would clip at 255
            if strip.mode not in ("I", "I;16"):
                strip = strip.convert("I")
            strip = strip.point(lambda value: value * (1 / 257)).convert("L")
        if strip.has_transparency_data:
            clear = strip.convert("RGBA")
            strip = Image.new("RGB", strip.size, _PAPER)
            strip.paste(clear, (0, 0), clear)
        else:
            strip = strip.convert("RGB")
        plain.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    return plain


def _resize_to(image: Picture, size: Size) -> Picture:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _arrange_tiles(tiles: list[tuple[str, Picture]]) -> Picture:
    """Lay all tiles out in rows: columns as wide as the widest, rows as high as their highest, the last row centred."""
    columns = columns_for(len(tiles))
    room = (_cell_side(columns), _cell_side(-(-len(tiles) // columns)))
    # No taller than wide, unless all are: beside others, an upright picture would look twice as important.
    least = max(1.0, min(tile.height / tile.width for _, tile in tiles))
    box = (room[0], min(room[1], round(room[0] * least)))
    tiles = [(caption, _resize_to(tile, fit_size(tile.size, box))) for caption, tile in tiles]
    rows = [tiles[at : at + columns] for at in range(0, len(tiles), columns)]
    wide = max(tile.width for _, tile in tiles)
    highs = [max(tile.height for _, tile in row) for row in rows]
    sheet = Image.new("RGB", (columns * (wide + _GAP) + _GAP, sum(highs) + (len(rows) + 1) * _GAP), _GROUND)
    letter = min(max(wide // 11, 18), 44)
    top = _GAP
    for row, high in zip(rows, highs, strict=True):
        left = (sheet.width - len(row) * (wide + _GAP) + _GAP) // 2
        for caption, tile in row:
            x, y = left + (wide - tile.width) // 2, top + (high - tile.height) // 2
            sheet.paste(tile, (x, y))
            _draw_badge(sheet, caption, (x, y), letter, wide)
            left += wide + _GAP
        top += high + _GAP
    return sheet


def _draw_badge(sheet: Picture, caption: str, at: Size, letter: int, wide: int) -> None:
    """Draw the caption in the corner: white on a dark pill with a light edge, readable on any picture."""
    text = "".join(it if it.isprintable() else " " for it in caption)[:CAPTION].strip()
    if not text:
        return
    font = ImageFont.load_default(letter * _FINE)
    inset = letter // 3
    while text and (length := font.getlength(text) / _FINE) > wide - 2 * inset - letter:
        text = text[:-1]
    if not text:
        return
    high = round(letter * 1.5)
    size = max(high, round(length + letter * 0.9)), high
    large = (size[0] * _FINE, size[1] * _FINE)
    edge = max(1, letter // 14) * _FINE
    pill, face = Image.new("L", large, 0), Image.new("RGB", large, _EDGE)
    ImageDraw.Draw(pill).rounded_rectangle((0, 0, large[0] - 1, large[1] - 1), large[1] / 2, fill=255)
    pen = ImageDraw.Draw(face)
    inner = (edge, edge, large[0] - 1 - edge, large[1] - 1 - edge)
    pen.rounded_rectangle(inner, large[1] / 2 - edge, fill=_BADGE)
    # Centre capitals and digits: they reach from the baseline to about 0.7 of the letter.
    pen.text((large[0] / 2, large[1] / 2 + letter * _FINE * 0.35), text, _INK, font, anchor="ms")
    place = (at[0] + inset, at[1] + inset)
    sheet.paste(_resize_to(face, size), place, _resize_to(pill, size))


def _jpeg_within_limit(image: Picture) -> bytes:
    """The best JPEG of at most a megabyte."""
    while True:
        for quality in _QUALITIES:
            content = _encode_jpeg(image, quality)
            if len(content) <= HEAVY:
                return content
        image = image.reduce(2)


def _encode_jpeg(image: Picture, quality: int, subsampling: Literal["4:2:0"] = "4:2:0") -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, subsampling=subsampling, optimize=True, progressive=True)
    return out.getvalue()


def _one_line(text: str) -> str:
    return " ".join(text.split())[:120]
