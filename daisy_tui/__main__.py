"""`python -m daisy_tui` is `daisy`."""

import sys

from daisy_tui.cli.main import main

sys.exit(main())
