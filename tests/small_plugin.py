"""Makes the smallest backbone available by name, in this process and in those that are started."""

from small_models import backbone

import ccsn_tf as ct

ct.register_backbone("small", backbone)
