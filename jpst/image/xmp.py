"""XMP packets (ISO 16684-1): made to fit an upright sRGB picture without thumbnails, gain maps and videos."""

from typing import Any
from xml.dom import XMLNS_NAMESPACE, minidom

_TIFF, _EXIF, _XAP = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/xap/1.0/"
_PHOTOSHOP, _NOTE = "http://ns.adobe.com/photoshop/1.0/", "http://ns.adobe.com/xmp/note/"
GAIN_MAPS = ("http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.apple.com/HDRGainMap/1.0/")
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
_OF_OTHER_PARTS = {  # what these say is stored elsewhere in the file, which the result does not have
    *GAIN_MAPS,
    _CAMERA,
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/image/",
    "http://ns.google.com/photos/1.0/audio/",
    "http://ns.apple.com/pixeldatainfo/1.0/",
}
_DROPPED = {(_XAP, "Thumbnails"), (_NOTE, "HasExtendedXMP"), (_PHOTOSHOP, "ICCProfile")}
_VIDEOS = (b'MotionPhoto="1"', b'MicroVideo="1"', b"MotionPhoto>1<", b"MicroVideo>1<")
_BEGIN = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_END = b'<?xpacket end="w"?>'
_DEEPEST = 100


def fitted(packet: bytes, size: tuple[int, int], software: str) -> bytes:
    """The packet for an upright picture of a size (height, width).

    Raises one of many errors if it is damaged, or declares entities, which XMP does not have.
    """
    if b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        raise ValueError("XMP with declarations")
    document = minidom.parseString(packet.strip(b"\0 \r\n\t"))
    sides = dict(zip(("height", "width"), map(str, size), strict=True))
    values = {
        (_TIFF, "Orientation"): "1",
        (_TIFF, "ImageLength"): sides["height"],
        (_TIFF, "ImageWidth"): sides["width"],
        (_EXIF, "PixelYDimension"): sides["height"],
        (_EXIF, "PixelXDimension"): sides["width"],
        (_EXIF, "ColorSpace"): "1",
        (_XAP, "CreatorTool"): software,
        (_TIFF, "Software"): software,
    }
    root = document.documentElement
    assert root is not None
    _fit(root, values, _DEEPEST)
    return _BEGIN + root.toxml().encode() + _END


def other_parts(packet: bytes) -> list[str]:
    """Names of the other parts of a file of which its packet tells."""
    gain_map = any(name.encode() in packet for name in GAIN_MAPS)
    video = any(word in packet for word in _VIDEOS)
    return ["gain map"] * gain_map + ["video"] * video


def _fit(element: Any, values: dict[tuple[str, str], str], deepest: int) -> None:
    """Sets the values and removes what is dropped, in attributes and elements."""
    if not deepest:
        raise ValueError("XMP nested too deep")
    for attribute in [*element.attributes.values()]:
        name = (attribute.namespaceURI, attribute.localName)
        declared = attribute.namespaceURI == XMLNS_NAMESPACE and attribute.value
        if name in _DROPPED or {name[0], declared} & _OF_OTHER_PARTS:
            element.removeAttributeNode(attribute)
        elif name in values:
            attribute.value = values[name]
    for child in [each for each in element.childNodes if each.nodeType == each.ELEMENT_NODE]:
        name = (child.namespaceURI, child.localName)
        if name in _DROPPED or name[0] in _OF_OTHER_PARTS:
            element.removeChild(child)
        elif name in values:
            child.childNodes[:] = [element.ownerDocument.createTextNode(values[name])]
        else:
            _fit(child, values, deepest - 1)
