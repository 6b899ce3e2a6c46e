"""Every setting of the program, one plain assignment each."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# --- Weights -------------------------------------------------------------------------------------------
CENTERNET_CHECKPOINT = ROOT / "checkpoint" / "CenterNet" / "Logistic_ResnetCenterNet_fused.pth"
A2J_CHECKPOINT = ROOT / "checkpoint" / "A2J" / "SYNTH_ALL_resnet18_21_a2j.pth"
LIGHT_NETWORKS = False  # True: those for small machines, several times faster and less exact
CENTERNET_LIGHT_CHECKPOINT = ROOT / "checkpoint" / "CenterNet" / "Logistic_ResnetCenterNet_fused_light.pth"
A2J_LIGHT_CHECKPOINT = ROOT / "checkpoint" / "A2J" / "SYNTH_ALL_resnet18_21_a2j_light.pth"

# --- CenterNet -----------------------------------------------------------------------------------------
CENTERNET_INPUT_SIZE = 320  # px, both sides
CENTERNET_STRIDE = 2  # input px for one cell of the heat map
CENTERNET_SCORE_THRESHOLD = 0.3  # detections below are dropped
CENTERNET_PEAK_WINDOW = 11  # cells: a peak is the largest score in this window (our own weights: 3)
CENTERNET_CANDIDATES = 100  # peaks, at most, that compete in non-maximum suppression
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
A2J_ICVL_MEAN = 4.82706137  # mm; these four by A2J's authors
A2J_ICVL_STD = 16.29524411  # mm
A2J_HANDS2017_MEAN = -6.39239157  # mm
A2J_HANDS2017_STD = 25.00686072  # mm

# --- The middle of a crop: the surface that stands out in a box -----------------------------------------
SURFACE_SAMPLES = 64  # along the longer side of a box: enough to tell a hand from what is behind it
SURFACE_NEAR_QUANTILE = 0.15  # of the depths in the middle of a box: the hand, hardly ever a stray near pixel
SURFACE_REACH_MM = 150.0  # a hand's surface is within this of any of its points, along the optical axis
SURFACE_STEP_MM = 10.0  # a larger step to the neighbour is an edge,
SURFACE_STEP_SLOPE = 0.008  # and this share of the depth more

# --- Hands ---------------------------------------------------------------------------------------------
FLESH_MM = 11.0  # how far joints lie behind the surface that the camera sees: median of the synthetic scenes
RECROP_MM = 15.0  # a hand is cropped anew if its joints' centre lies further than this from the crop's
RECROP_RAD = 0.4  # and if its palm points this much further to the side than in the crop, where upright
CONFIDENCE_HALF_MM = 20.0  # spread of the anchors' votes at which a joint's confidence is one half
UNCONFIRMED_SCORE = 0.2  # of the detector, at least, where the joint network cannot tell hands
PROPOSALS = 8  # of the detector, at most, that the joint network looks at, where its weights can tell hands
PROPOSAL_NMS_IOU = 0.5  # instead of CENTERNET_NMS_IOU: what is one hand twice shows after that look
PROPOSAL_SCORE = 0.1  # of the detector, at least: joints and presence hardly ever make a hand of less
# Log-odds that a proposal is a hand: between what python3 -m pipeline.training.fit_confirmation finds for the
# standard and for the light networks
CONFIRM_BIAS = -0.5
CONFIRM_DETECTOR = 1.4  # for one of the detector's score
CONFIRM_JOINTS = 1.25  # for one of the joints' mean confidence
CONFIRM_PRESENCE = 0.45  # for one that the joint network gives a hand to be there
CONFIRM_BOX = 0.3  # share of the detector's box in that of a confirmed hand, beside the joints' box
HOPELESS_PRESENCE = -3.0  # log-odds of a hand at the first look below which there is no second one
HOPELESS_SCORE = 0.05  # probability of a hand after the first look below which there is no second one either
FINGER_MM = 9.0  # from a joint to the skin: hands reach so far beyond their joints

# --- Azure Kinect --------------------------------------------------------------------------------------
AZURE_DEPTH_MODE = "NFOV_UNBINNED"  # NFOV_2X2BINNED, NFOV_UNBINNED, WFOV_2X2BINNED, WFOV_UNBINNED
AZURE_FPS = 30  # 5, 15 or 30 (WFOV_UNBINNED: 15 at most)
AZURE_TIMEOUT_S = 5.0  # longest wait for a frame
AZURE_SYNCHRONIZED_IMAGES = True  # only captures that hold both depth and infrared
CAMERA_MIRRORED = False  # True if the camera delivers a mirrored image: left and right are swapped

# --- Tracking ------------------------------------------------------------------------------------------
TRACK_DETECT_EVERY = 8  # frames from one run of the detector to the next while there is room for a hand
TRACK_SEARCH_EVERY = 3  # the same while a hand is missed that was there a moment ago
TRACK_MATCH_MM = 150.0  # a detection further than this from where a track should be is another hand
TRACK_OTHER_SIDE_MM = 60.0  # added to the distance between a left and a right hand
TRACK_SAME_MM = 45.0  # hands whose centres are nearer than this may be one hand
TRACK_TOUCHING_MM = 20.0  # the same for a left and a right hand
TRACK_JUMP_MM = 120.0  # a hand that is found further from where it should be is doubtful
TRACK_LEAST_SUPPORT = 0.35  # of the joints must lie on or behind a measured surface, else there is no hand
TRACK_SURE_SUPPORT = 0.7  # with fewer of them the hand is doubtful
TRACK_SUPPORT_MM = 45.0  # a surface that lies further behind a joint does not support it
TRACK_LEAST_CONFIDENCE = 0.55  # of a track's usual confidence: below, the hand is doubtful
TRACK_SURE_PRESENCE = 0.0  # log-odds that a hand is there, by the joint network: below, the hand is doubtful
TRACK_CLEAR_PRESENCE = 3.0  # above: the detector may overlook a hand, and it stays for a while
TRACK_LEAST_PRESENCE = -3.0  # and below this there is none
TRACK_STRETCH = 0.3  # mean change of the bones' lengths, as a share, that makes a hand doubtful
TRACK_SHADOW_IOU = 0.2  # the detector may leave out a hand whose box overlaps another one's more
TRACK_TRUST = 4  # what a track starts with; doubt costs 1, a detector that does not see it 2; it ends at 0
TRACK_MEMORY_S = 5.0  # a hand that comes back within this time is given its old id
TRACK_MEMORY_MM = 300.0  # and within this distance
TRACK_LONGEST_GAP_S = 0.5  # between two frames; after a longer one all tracks are forgotten
TRACK_SCORE_DECAY = 0.9  # of a hand's score, each time that the detector looked and did not see it
SIDE_SURE = 2.0  # log-odds of left against right above which one side is tried only
SIDE_LIMIT = 5.0  # log-odds are kept within, so that old evidence can be outweighed
SIDE_OF_DETECTION = 1.0  # log-odds that a detection of score 1 adds
SIDE_UNCLEAR = 2.0  # log-odds of the side head that say nothing: those of a hidden hand, frame after frame
SIDE_OF_HEAD = 0.5  # weight of what it says beyond them
SIDE_REREAD = 1.0  # log-odds against the side that a hand was read as at which it is read once more
SIDE_OF_MIRRORS = 2.0  # log-odds for a factor e between the doubts with which both mirrors are read

# --- Smoothing (One Euro filter) -----------------------------------------------------------------------
SMOOTHING = True
SMOOTHING_MIN_CUTOFF_HZ = 0.2  # lower: hands at rest tremble less
SMOOTHING_BETA = 0.2  # Hz for one mm/s; higher: moving fingers lag less
SMOOTHING_CENTRE_BETA = 0.6  # the same for the hand as a whole

# --- Engines -------------------------------------------------------------------------------------------
CPU_THREADS = None  # that run the networks on the processor; None: the engine's choice
