from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, HTJ2KLossless

from radialog_instruct.errors import DataError, UsageError
from radialog_instruct.sources.dicom_notes import is_lateral
from radialog_instruct.sources.images import check_image, load_image, read_image

NAME = "Secretperson^Anna"
RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)


def dicom(path: Path, pixels: np.ndarray = RAMP, bits: int = 12, **tags: object) -> Path:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3"
    ds.PatientName, ds.Modality = NAME, "DX"
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    ds.BitsAllocated = pixels.dtype.itemsize * 8
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes()
    syntax = tags.pop("syntax", None)
    for name, value in tags.items():
        setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)
    if syntax:
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", f"{syntax}".encode().ljust(20, b"\0"), 1))
    return path


def grey(path: Path) -> np.ndarray:
    image = load_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)[..., 0].astype(int)


def test_without_a_window_the_own_range_is_shown_and_monochrome1_is_inverted(tmp_path: Path) -> None:
    plain = grey(dicom(tmp_path / "a.dcm"))
    assert (plain[0, 0], plain[-1, -1]) == (0, 255)
    inverted = grey(dicom(tmp_path / "b.dcm", PhotometricInterpretation="MONOCHROME1"))
    assert np.abs(inverted - (255 - plain)).max() <= 1


def test_a_window_counts_after_the_rescale_and_the_first_of_several_is_taken(tmp_path: Path) -> None:
    shown = grey(
        dicom(
            tmp_path / "a.dcm",
            RescaleSlope=2,
            RescaleIntercept=-100,
            WindowCenter=[1000.5, 7],
            WindowWidth=[1001, 7],
        )
    )
    values = RAMP.astype(float) * 2 - 100
    assert (shown[values <= 500] == 0).all()
    assert (shown[values >= 1500] == 255).all()
    assert abs(int(shown[values == 1004][0] if (values == 1004).any() else 128) - 128) <= 3


def test_exact_and_sigmoid_windows_and_one_of_no_width(tmp_path: Path) -> None:
    window = {"WindowCenter": 2048, "WindowWidth": 2048}
    exact = grey(dicom(tmp_path / "a.dcm", VOILUTFunction="LINEAR_EXACT", **window))
    assert exact[RAMP == 2048] == 128
    assert exact[RAMP == 1024] == 0
    sigmoid = grey(dicom(tmp_path / "b.dcm", VOILUTFunction="SIGMOID", **window))
    assert sigmoid[RAMP == 2048] == 128
    assert sigmoid[RAMP == 1024] == pytest.approx(255 / (1 + np.exp(2)), abs=1)
    unusable = grey(dicom(tmp_path / "c.dcm", WindowCenter=2048, WindowWidth=0))
    assert unusable.max() == 255


def test_a_voi_table_wins_over_a_window(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = (np.linspace(1, 0, 4096) * 65535).astype("<u2").tobytes()
    shown = grey(dicom(tmp_path / "a.dcm", VOILUTSequence=[table], WindowCenter=1, WindowWidth=2))
    assert (shown[0, 0], shown[-1, -1]) == (255, 1)


def test_signed_pixels_and_padding_that_stays_black(tmp_path: Path) -> None:
    pixels = (RAMP.astype(np.int16) - 1000).copy()
    pixels[0, :] = -2048
    shown = grey(
        dicom(tmp_path / "a.dcm", pixels, 16, PixelPaddingValue=-2048, PhotometricInterpretation="MONOCHROME1")
    )
    assert (shown[0] == 0).all()
    assert shown[1, 0] == 255
    assert shown[-1, -1] == 0


def test_colour_becomes_grey(tmp_path: Path) -> None:
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[..., 0] = 200
    assert grey(dicom(tmp_path / "a.dcm", colours, bits=8))[0, 0] == 60


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"NumberOfFrames": 2, "PixelData": RAMP.tobytes() * 2}, "2 frames in one DICOM file"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "cannot show PhotometricInterpretation PALETTE COLOR"),
        ({"PixelData": RAMP.tobytes()[:100]}, "the DICOM file is damaged"),
        ({"Rows": 20_000, "Columns": 20_000}, "20000 x 20000 pixels are more than 100,000,000"),
    ],
)
def test_what_is_no_single_radiograph_is_refused(tags: dict[str, object], message: str, tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", **tags)
    with pytest.raises(DataError, match=message) as caught:
        load_image(path)
    assert "Secret" not in str(caught.value)
    assert message in (check_image(path) or "")


def test_a_file_cut_inside_its_header_is_damaged_or_no_image(tmp_path: Path) -> None:
    whole = dicom(tmp_path / "a.dcm").read_bytes()
    for length in (140, 300, 600, len(whole) - 50):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with pytest.raises(DataError):
            load_image(tmp_path / "cut.dcm")


def test_the_tags_warn_and_never_name_the_patient(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def notes(**tags: object) -> tuple[str, ...]:
        return read_image(dicom(tmp_path / "a.dcm", **tags)).notes

    assert notes() == ()
    assert notes(BodyPartExamined="CHEST", ViewPosition="PA", PatientOrientation=["L", "F"]) == ()
    assert notes(BodyPartExamined="LEG") == ("BodyPartExamined is LEG, not a chest",)
    assert notes(SeriesDescription=f"{NAME} left knee") == ("SeriesDescription says KNEE, not a chest",)
    assert notes(SeriesDescription="hand, thorax") == ()
    assert notes(Modality="CT") == ("Modality is CT, not a radiograph",)
    lateral = notes(ViewPosition="LL")
    assert lateral == ("lateral view (ViewPosition LL)",)
    assert is_lateral(lateral)
    assert "left and right are exchanged" in notes(ViewPosition="PA", PatientOrientation=["R", "F"])[0]
    wrong = dicom(tmp_path / "b.dcm", BodyPartExamined=f"{NAME} and much more")
    recwarn.clear()
    caplog.clear()
    capfd.readouterr()
    assert read_image(wrong).notes == ()
    out = capfd.readouterr()
    assert "Secret" not in out.out + out.err + caplog.text
    assert not [w for w in recwarn if "Secret" in str(w.message)]


def test_without_pydicom_or_a_decoder_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dicom(tmp_path / "a.dcm", syntax=HTJ2KLossless)
    with pytest.raises((UsageError, DataError)):
        load_image(path)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UsageError, match=r'pip install "radialog\[dicom\]"'):
        load_image(path)
    assert check_image(path) == "pydicom is not installed"


@pytest.mark.shared_data
def test_a_real_chest_has_dark_lungs_and_a_leg_is_warned_about() -> None:
    root = Path(os.environ.get("RADIALOG_SHARED_DATA", "../shared/data")) / "dicom"
    if not root.is_dir():
        pytest.skip("no shared data")
    chest = read_image(root / "RG1_J2KI.dcm")
    assert chest.notes == ()
    pixels = np.asarray(chest.image)[..., 0]
    lung, spine = pixels[500:560, 450:550].mean(), pixels[900:1000, 900:960].mean()
    assert lung + 50 < spine
    leg = read_image(root / "RG3_J2KI.dcm")
    assert "BodyPartExamined is EXTREMITY, not a chest" in leg.notes


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_every_mode_of_a_picture_becomes_grey(tmp_path: Path) -> None:
    half = Image.new("L", (8, 8), 100)
    half.paste(200, (4, 0, 8, 8))
    assert grey(save(tmp_path / "cmyk.jpg", half.convert("CMYK"), quality=100))[0, 7] == pytest.approx(200, abs=3)
    assert grey(save(tmp_path / "palette.png", half.convert("P")))[0, 7] == 200
    assert grey(save(tmp_path / "one.png", half.point(lambda v: 255 * (v > 150)).convert("1")))[0].tolist()[3:5] == [
        0,
        255,
    ]
    veiled = half.convert("LA")
    veiled.putalpha(Image.new("L", (8, 8), 0))
    assert grey(save(tmp_path / "alpha.png", veiled)).max() == 0
    assert grey(save(tmp_path / "clear.gif", half.convert("P"), transparency=200))[0, 0] == 100


def test_sixteen_bits_are_stretched_and_exif_is_followed(tmp_path: Path) -> None:
    assert grey(save(tmp_path / "deep.png", Image.fromarray(RAMP)))[[0, -1], [0, -1]].tolist() == [0, 255]
    tall = Image.new("L", (4, 8), 0)
    tall.paste(255, (0, 0, 4, 2))
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = grey(save(tmp_path / "exif.jpg", tall, exif=exif, quality=100))
    assert turned[0, 0] < 20 < 230 < turned[-1, 0]
    assert read_image(tmp_path / "exif.jpg").notes == ()


def test_a_cut_jpeg_and_a_text_are_told_apart(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    path = save(tmp_path / "cut.jpg", noise)
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(DataError, match="the image is damaged"):
        load_image(path)
    (tmp_path / "a.dcm").write_text("hello")
    with pytest.raises(DataError, match="not an image"):
        load_image(tmp_path / "a.dcm")
    with pytest.raises(DataError, match="no such image"):
        load_image(tmp_path / "none.dcm")


def test_formats_that_start_programs_are_no_images(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match="not an image"):
        load_image(path)
    assert check_image(path) == "not an image"


def test_a_dicom_file_that_begins_as_a_tiff_is_dicom(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", PhotometricInterpretation="MONOCHROME1")
    small = save(tmp_path / "small.tif", Image.new("L", (2, 2), 9)).read_bytes()
    path.write_bytes(small[:8] + path.read_bytes()[8:])
    assert grey(path).shape == (16, 16)
    assert check_image(path) is None
