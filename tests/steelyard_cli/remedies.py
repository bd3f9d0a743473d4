"""Errors of the front door that say what to do next, each with commands that do it.

Whoever adds an error whose advice names a command or an option adds a row. ``test_remedies.py``
provokes every error, checks that its sentence gives the advice, follows it, and finds advice that
no row follows.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Remedy:
    """An error and its remedy.

    Members
    -------
    wrong : command that is refused
    says : regular expression that its sentence must match; its literal text stands in the source
    right : commands that follow the advice, with ``{0}`` for the expression's first group, and so
        on; each must succeed. ``set FILE FIELD VALUE`` edits a configuration.
    """

    wrong: str
    says: str
    right: tuple[str, ...]


ON = "--input images.npy --output y.npy --device golden"
IMAGES = "--calibration images.npy"
MAGNITUDE = f"prune net.py {IMAGES} --method magnitude -o p.onnx"

CUT = "compile softmax.onnx -o n.syp"
IMPORT = (
    Remedy(
        "check softmax.onnx",
        "leave it to the host with (--cut .*)\\.",
        ("check softmax.onnx {0}", f"{CUT} {{0}}", f"run n.syp {ON}"),
    ),
    Remedy(CUT, "leave it to the host with (--cut .*)\\.", (f"{CUT} {{0}}", f"run n.syp {ON}")),
    Remedy(
        f"{CUT} --cut prob",
        "name a value before it, or leave --cut out",
        (f"{CUT} --cut Softmax", "compile int8.onnx -o n.syp"),
    ),
    Remedy(
        f"{CUT} --cut input",
        "name a value or node behind that one",
        (f"{CUT} --cut Softmax",),
    ),
    Remedy(
        "check several.onnx",
        "has the 2 obstacles above; leave it to the host with (--cut .*)\\.",
        ("check several.onnx {0}",),
    ),
    Remedy(
        "check unlike.onnx",
        "and 'steelyard check' looks again at once",
        (
            f"quantize unlike.onnx {IMAGES} -o right.onnx --cut Softmax",
            "check right.onnx --cut Softmax",
        ),
    ),
    Remedy(
        f"run bad_host.syp {ON}",
        "take the scores before it with --no-host",
        (f"run bad_host.syp {ON} --no-host",),
    ),
    Remedy(
        "compile float.onnx -o n.syp",
        "run 'steelyard quantize' on it first",
        (f"quantize float.onnx {IMAGES} -o q.onnx", "compile q.onnx -o n.syp"),
    ),
    Remedy(
        f"quantize int8.onnx {IMAGES} -o q.onnx",
        "give it to 'steelyard compile'",
        ("compile int8.onnx -o n.syp",),
    ),
)
TFLITE = (
    *(
        Remedy(
            f"{command} --cut Softmax",
            "leave --cut out, a SOFTMAX at the end is left to the host without it",
            (command,),
        )
        for command in ("check net.tflite", "compile net.tflite -o n.syp")
    ),
    Remedy(
        f"quantize net.tflite {IMAGES} -o q.onnx",
        "give a TFLite network that is quantized to 'steelyard compile' as it is",
        ("compile net.tflite -o n.syp",),
    ),
)
PRUNE = (
    Remedy("prune net.py -o p.onnx", "give --calibration X.npy", (MAGNITUDE,)),
    Remedy(
        f"{MAGNITUDE} --keep 2=0.5",
        "leave it out or add --engine crossbar",
        (MAGNITUDE, f"prune net.py {IMAGES} --engine crossbar --keep 2=0.5 -o p.onnx"),
    ),
    Remedy(f"{MAGNITUDE} --k 2=x", "write for example 'conv2=4'", (f"{MAGNITUDE} --k 2=4",)),
    Remedy(
        f"prune net.py {IMAGES} --engine crossbar --keep 2 -o p.onnx",
        "write for example 'c2=0.2'",
        (f"prune net.py {IMAGES} --engine crossbar --keep 2=0.2 -o p.onnx",),
    ),
    Remedy(
        f"prune net.py {IMAGES} --engine crossbar --width 1 -o p.onnx",
        "leave it out or add --constraint mixed",
        (
            f"prune net.py {IMAGES} --engine crossbar -o p.onnx",
            f"prune net.py {IMAGES} --engine crossbar --width 1 --constraint mixed -o p.onnx",
        ),
    ),
    Remedy(
        f"prune net.py {IMAGES} --engine crossbar --method magnitude -o p.onnx",
        "choose reconstruct or finetune",
        (f"prune net.py {IMAGES} --engine crossbar --method reconstruct -o p.onnx",),
    ),
    Remedy(
        f"{MAGNITUDE} --weights images.npy",
        "give a state dictionary of this very network",
        (f"{MAGNITUDE} --weights net.pt",),
    ),
    Remedy(
        "prune fashion --weights other.npz --method magnitude -o p.onnx",
        r"make them with 'steelyard (train --model fashion -o WEIGHTS\.npz)'",
        (
            "{0} --data data --epochs 1",
            "prune fashion --weights WEIGHTS.npz --method magnitude -o p.onnx",
        ),
    ),
)
PRUNE = (
    *PRUNE,
    Remedy(
        f"prune lazy.py {IMAGES} --method magnitude -o p.onnx",
        "load them with --weights",
        (f"prune lazy.py {IMAGES} --method magnitude --weights net.pt -o p.onnx",),
    ),
)
ONNX = f"prune float.onnx {IMAGES}"
PRUNE = (
    *PRUNE,
    Remedy(
        "prune float.onnx -o p.onnx",
        "give --calibration X.npy",
        (f"{ONNX} --method magnitude --sparsity 0.5 -o p.onnx",),
    ),
    Remedy(
        ONNX,
        r"give -o OUT\.onnx, or --sensitivity to measure alone",
        (f"{ONNX} --sensitivity", f"{ONNX} --sparsity 0.5 -o p.onnx"),
    ),
    Remedy(f"prune net.py {IMAGES}", r"give -o OUT\.onnx\.", (MAGNITUDE,)),
    Remedy(
        f"{MAGNITUDE} --sensitivity",
        r"leave it out, or export the network and give the \.onnx file",
        (MAGNITUDE, f"{ONNX} --sensitivity"),
    ),
    Remedy(
        f"{ONNX} --engine crossbar -o p.onnx",
        "leave --engine out, or give the torch network",
        (f"{ONNX} -o p.onnx --sparsity 0.5", f"prune net.py {IMAGES} --engine crossbar -o p.onnx"),
    ),
    Remedy(
        f"{ONNX} --weights net.pt -o p.onnx",
        "leave --weights out, or give the torch network",
        (f"{ONNX} --sparsity 0.5 -o p.onnx", f"{MAGNITUDE} --weights net.pt"),
    ),
    Remedy(
        f"{ONNX} --method finetune -o p.onnx",
        "choose --method reconstruct, admm or magnitude, or give the torch network",
        (
            f"{ONNX} --method admm --sparsity 0.5 -o p.onnx",
            f"prune net.py {IMAGES} --method finetune --epochs 1 -o p.onnx",
        ),
    ),
    Remedy(
        f"prune int8.onnx {IMAGES} -o p.onnx",
        "prune the float one and run 'steelyard quantize' on the result",
        (f"{ONNX} --sparsity 0.5 -o p.onnx", f"quantize p.onnx {IMAGES} -o q.onnx"),
    ),
    Remedy(
        f"{ONNX} --channels 0.1 --engine crossbar -o p.onnx",
        "leave --engine out and give --sparsity 0 to remove whole channels alone",
        (f"{ONNX} --channels 0.1 --sparsity 0 -o p.onnx",),
    ),
    Remedy(
        f"prune net.py {IMAGES} --channels 0.1 --method finetune -o p.onnx",
        "choose --method reconstruct or admm, or leave --channels out",
        (
            f"prune net.py {IMAGES} --channels 0.1 --sparsity 0.2 --work 0 -o p.onnx",
            f"prune net.py {IMAGES} --method finetune --epochs 1 -o p.onnx",
        ),
    ),
    Remedy(
        f"{ONNX} --channels 0.1 --method magnitude -o p.onnx",
        "choose reconstruct or admm, or leave --channels out",
        (
            f"{ONNX} --channels 0.1 --sparsity 0.2 --work 0 --method admm -o p.onnx",
            f"{ONNX} --sparsity 0.5 --method magnitude -o p.onnx",
        ),
    ),
    Remedy(
        f"{ONNX} --method psychic -o p.onnx",
        "choose one of magnitude, reconstruct, admm",
        (f"{ONNX} --method magnitude --sparsity 0.5 -o p.onnx",),
    ),
)
COMPILE = (
    Remedy("compile", "see '(.*)'", ("{0}",)),
    Remedy(
        "compile int8.onnx -o n.syp --engine crossbar --config tiny.toml",
        "leave --engine out, for the file says it",
        ("compile int8.onnx -o n.syp --config tiny.toml",),
    ),
    Remedy(
        "compile int8.onnx -o n.syp --engine crossbar --board ulx3s_85f",
        "give one with --config",
        ("compile int8.onnx -o n.syp --engine crossbar --config tile.toml",),
    ),
    Remedy("boards -o new.toml", "name the board, as in '(.*)'", ("{0}",)),
    Remedy(
        "boards ulx3s_12f --external",
        "name a file with -o",
        ("boards ulx3s_12f --external -o new.toml",),
    ),
    Remedy(
        "boards versa_ecp5 --external -o new.toml",
        "leave --external out, or name one that has: ([a-z0-9_]+)",
        ("boards versa_ecp5 -o new.toml", "boards {0} --external -o new.toml"),
    ),
    Remedy(
        "compile int8.onnx -o n.syp --board toaster",
        "choose one of (?:.*, )?(ulx3s_85f)",
        ("compile int8.onnx -o n.syp --board {0}", "boards"),
    ),
    Remedy(
        "compile int8.onnx -o n.syp --config tiny.toml --batch 500",
        "raise activation_words to ([0-9]+) in the configuration, or use a smaller batch",
        (
            "compile int8.onnx -o n.syp --config tiny.toml --batch 1",
            "set tiny.toml activation_words {0}",
            "compile int8.onnx -o n.syp --config tiny.toml --batch 500",
        ),
    ),
    Remedy(
        "compile int8.onnx -o n.syp --k 2",
        "use a K of at least ([0-9]+)",
        ("compile int8.onnx -o n.syp --k 16",),
    ),
    Remedy("compile int8.onnx -o n.syp --k 0", "choose one of", ("compile int8.onnx -o n.syp",)),
    Remedy(
        "compile int8.onnx -o images.npy/n.syp",
        "give a path in a folder that may be written",
        ("compile int8.onnx -o new/n.syp",),
    ),
    Remedy(
        "compile int8.onnx -o n.syp --config bare.toml",
        r"put each field under its table",
        ("compile int8.onnx -o n.syp --config tiny.toml",),
    ),
)
RUN = (
    Remedy(
        f"run net.syp {ON} --selftest",
        "leave out --input, --output, --check and --raw",
        ("run net.syp --selftest --device golden",),
    ),
    Remedy(
        "run net.syp --output y.npy --device golden",
        "give both, or --selftest to run the image that the program carries",
        (f"run net.syp {ON}", "run net.syp --selftest --device golden"),
    ),
    Remedy(
        f"run net.syp {ON} --raw",
        "leave --raw out for real units",
        (f"run net.syp {ON}",),
    ),
    Remedy(
        "run net.syp --input codes.npy --output y.npy --device golden",
        "or give int8 codes with --raw",
        ("run net.syp --input codes.npy --output y.npy --device golden --raw",),
    ),
    Remedy(
        "run net.syp --input several.npz --output y.npy --device golden",
        "write it with numpy.save",
        (f"run net.syp {ON}",),
    ),
    *(
        Remedy(
            f"run {name}.syp {ON}",
            says,
            (f"compile int8.onnx -o {name}.syp", f"run {name}.syp {ON}"),
        )
        for name, says in (
            ("cut", "copy it again or compile it anew"),
            ("altered", "copy it again or compile it anew"),
            ("newer", "update Steelyard or compile the network anew"),
            ("odd", "compile it anew"),
        )
    ),
    Remedy(f"run images.npy {ON}", "give a .syp file", (f"run net.syp {ON}",)),
    Remedy(
        "report net.syp -o r --run golden.json",
        "run on 'sim'",
        (
            "run net.syp --input images.npy --output y.npy --device sim --json run.json",
            "report net.syp -o r --run run.json",
        ),
    ),
    Remedy(
        "report net.syp -o r --run images.npy",
        "give what 'steelyard run --json' wrote for this program",
        (
            "run net.syp --input images.npy --output y.npy --device sim --json run.json",
            "report net.syp -o r --run run.json",
        ),
    ),
    Remedy(
        "report net.syp -o r --run odd.json",
        "do not add up: .*; measure it again with 'steelyard run --json'",
        (
            "run net.syp --input images.npy --output y.npy --device sim --json run.json",
            "report net.syp -o r --run run.json",
        ),
    ),
    Remedy(
        "selftest --device virtual:",
        r"or write 'virtual:\?config=FILE\.toml'",
        ("selftest --device virtual:?config=board.toml --quick",),
    ),
    Remedy(
        "selftest --device sim",
        r"give --config|give",
        ("selftest --device sim --config tiny.toml",),
    ),
    Remedy(
        "flash ulx3s_85f --bitstream none.bit --dry-run",
        "name one with --bitstream",
        ("flash ulx3s_85f --bitstream some.bit --dry-run",),
    ),
)
AUTO = "compile int8.onnx -o n.syp --auto"
XBARS = "crossbar int8.onnx -o crossbars"
CROSSBARS = (
    Remedy(f"{XBARS} --adc-bits 4;8", "write for example '(3.*)'", (f"{XBARS} --adc-bits {{0}}",)),
    Remedy(
        f"{XBARS} --labels labels.npy",
        "--labels are of the images of --input; give these too",
        (f"{XBARS} --labels labels.npy --input images.npy",),
    ),
    Remedy(
        f"{XBARS} --effect drift=0.1",
        "give them with --input X.npy",
        (f"{XBARS} --effect drift=0.1 --draws 1 --input images.npy",),
    ),
    Remedy(
        f"{XBARS} --effect drift --input images.npy",
        "write for example '(.*)'",
        (f"{XBARS} --effect {{0}} --draws 1 --input images.npy",),
    ),
    Remedy(
        f"{XBARS} {IMAGES}",
        "add --adc-range fitted or leave it out",
        (f"{XBARS} {IMAGES} --adc-range fitted", XBARS),
    ),
    Remedy(
        f"{XBARS} --adc-range fitted",
        "give --calibration X.npy or --input X.npy",
        (f"{XBARS} --adc-range fitted {IMAGES}", f"{XBARS} --adc-range fitted --input images.npy"),
    ),
    Remedy(
        f"{XBARS} --budget 2;4",
        "write for example '(.*)'",
        (f"{XBARS} --budget {{}}",),
    ),
    Remedy(
        f"{XBARS} --budget 0.01",
        "use ([0-9.]+) or more",
        (f"{XBARS} --budget {{}}",),
    ),
    Remedy(
        f"{XBARS} {IMAGES} --adc-range fitted --config reach.toml",
        "set adc_resolve to '(all)', or leave --adc-range out",
        (
            f"{XBARS} --config reach.toml",
            "set reach.toml adc_resolve '\"{0}\"'",
            f"{XBARS} {IMAGES} --adc-range fitted --config reach.toml",
        ),
    ),
)

SMALL = "explore int8.onnx --board icebreaker --count 40 -o found"
EXPLORE = (
    Remedy(AUTO, "name one with --board", (f"{AUTO} --board icebreaker",)),
    Remedy(
        f"{AUTO} --board icebreaker --k dense",
        "Option --auto chooses what .* would fix; leave one of the two out",
        (f"{AUTO} --board icebreaker", "compile int8.onnx -o n.syp --k dense"),
    ),
    Remedy(
        f"{SMALL} --min-accuracy 0",
        "give --images X.npy and --labels Y.npy too, or leave it out",
        (f"{SMALL} --min-accuracy 0 --images images.npy --labels labels.npy", SMALL),
    ),
    Remedy(
        f"{SMALL} --k 2 --float float.onnx",
        "was given without .*; give both or none",
        (f"{SMALL} --k 2 --float float.onnx --calibration images.npy", f"{SMALL} --k 2"),
    ),
    Remedy(
        f"{SMALL} --float float.onnx --calibration images.npy",
        "give --k N, or leave --float and --calibration out",
        (f"{SMALL} --float float.onnx --calibration images.npy --k 2", SMALL),
    ),
    Remedy(
        f"{SMALL} --images images.npy",
        "was given without .*; give both or none",
        (f"{SMALL} --images images.npy --labels labels.npy", SMALL),
    ),
)

REMEDIES = (*IMPORT, *TFLITE, *PRUNE, *COMPILE, *CROSSBARS, *EXPLORE, *RUN)

UNFOLLOWED = {
    "install Yosys with 'pip install": "packages of this installation stay as they are",
    "install the Debian package": "of the system; nothing is installed by a test",
    "leave it dense with --exclude": "a check of scores in a batch refuses such networks first",
    "is not installed; install it with": "packages of this installation stay as they are",
    "which is not here; install it with": "as above; the tools' names are tested where they are",
    "install it with 'pip install": "as above",
    "for example with 'apt-get install g\\+\\+'": "as above, of the system",
    "apt-get install libusb": "as above, of the system",
    "build it with 'steelyard bitstream": "minutes; make bitstream-ci builds one",
    "install it anew, or name your own in its variable": "of the system's tools",
    "install the same wheel with the extra 'explore' there": "of other machines; test_cluster.py "
    "has such workers",
    "start some with 'dask worker": "the same",
    "try --ranges minmax": "the default, of which no input is known that onnxruntime refuses",
    "take fewer processes with --workers": "a process that is killed in every attempt of a test "
    "is killed with fewer too (test_search.py)",
    "apt-get download": "no advice: what a command of the system said",
}
"""Advice that no row follows, with the reason."""
