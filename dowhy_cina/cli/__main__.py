"""``python -m dowhy_cina.cli``."""

import sys

from dowhy_cina.cli import main

sys.exit(main())
