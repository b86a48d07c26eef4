"""Systems related to SKD, each small, with its control: importing this registers their rows.

After `import skd_lab.family`, --objective and --method know the names below, and CARDS holds a
card for each. The core never imports this package.
"""

from skd_lab.family import adaswitch as adaswitch
from skd_lab.family import attribution as attribution
from skd_lab.family import ckd as ckd
from skd_lab.family import cmkd as cmkd
from skd_lab.family import distillm as distillm
from skd_lab.family import distillm2 as distillm2
from skd_lab.family import entropy_aware as entropy_aware
from skd_lab.family import f_distill as f_distill
from skd_lab.family import ikd as ikd
from skd_lab.family import ikd_text as ikd_text
from skd_lab.family import interactive as interactive
from skd_lab.family import kdiga as kdiga
from skd_lab.family import lelp as lelp
from skd_lab.family import lwkd as lwkd
from skd_lab.family import minillm as minillm
from skd_lab.family import nine as nine
from skd_lab.family import okd as okd
from skd_lab.family import policy_gradient as policy_gradient
from skd_lab.family import rdd as rdd
from skd_lab.family import rdd_segments as rdd_segments
from skd_lab.family import uld as uld
from skd_lab.family.card import CARDS as CARDS
from skd_lab.family.card import Card as Card
from skd_lab.family.card import Demo as Demo
from skd_lab.family.card import Verdict as Verdict
from skd_lab.family.card import get_card as get_card
from skd_lab.family.card import read_rows as read_rows
from skd_lab.family.card import rerun as rerun
from skd_lab.family.shown import show as show
