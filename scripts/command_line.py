from ccsn_tf.config.flags import *  # noqa: F403
from ccsn_tf.config.flags import FLAGS as FLAGS
