"""Every setting of the program, one plain assignment each."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# --- Weights -------------------------------------------------------------------------------------------
CENTERNET_CHECKPOINT = ROOT / "checkpoint" / "CenterNet" / "Logistic_ResnetCenterNet_fused.pth"
A2J_CHECKPOINT = ROOT / "checkpoint" / "A2J" / "SYNTH_ALL_resnet18_21_a2j.pth"

# --- CenterNet -----------------------------------------------------------------------------------------
CENTERNET_INPUT_SIZE = 320  # px, both sides
CENTERNET_STRIDE = 2  # input px for one cell of the heat map
CENTERNET_SCORE_THRESHOLD = 0.3  # detections below are dropped
CENTERNET_PEAK_WINDOW = 11  # cells: a peak is the largest score in this window
CENTERNET_NMS_IOU = 0.3  # of two boxes that overlap more, the lower score is dropped

# --- A2J -----------------------------------------------------------------------------------------------
A2J_INPUT_SIZE = 176  # px, both sides
A2J_STRIDE = 16  # input px for one cell of anchors

# Input of checkpoints without metadata (trained on NYU by the original repositories)
A2J_NYU_WINDOW_PX = 220.0  # side of the window, px of NYU's camera
A2J_NYU_WINDOW_FX = 588.0  # its focal length, px
A2J_NYU_DEPTH_RANGE_MM = 180.0  # depths further from the hand's median count as outside
A2J_NYU_MEAN = -0.66877532  # mm
A2J_NYU_STD = 28.32958208  # mm

# --- Hands ---------------------------------------------------------------------------------------------
RECROP_MM = 15.0  # a hand is cropped anew if its joints' centre lies further than this from the crop's
CONFIDENCE_HALF_MM = 20.0  # spread of the anchors' votes at which a joint's confidence is one half

# --- Azure Kinect --------------------------------------------------------------------------------------
AZURE_DEPTH_MODE = "NFOV_UNBINNED"  # NFOV_2X2BINNED, NFOV_UNBINNED, WFOV_2X2BINNED, WFOV_UNBINNED
AZURE_FPS = 30  # 5, 15 or 30 (WFOV_UNBINNED: 15 at most)
AZURE_TIMEOUT_S = 5.0  # longest wait for a frame
AZURE_SYNCHRONIZED_IMAGES = True  # only captures that hold both depth and infrared
CAMERA_MIRRORED = False  # True if the camera delivers a mirrored image: left and right are swapped
