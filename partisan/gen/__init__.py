"""OTP's behaviours: servers, state machines, event managers, supervisors, and what they are made of.

The control values that callbacks return are here; everything else is in the module that OTP has it in.
"""

from .control import Continue as Continue
from .control import Ignore as Ignore
from .control import NoReply as NoReply
from .control import Reply as Reply
from .control import Stop as Stop
