"""Runs a command on a pseudoterminal, and prints what it writes there.

    python tests/conformance/terminal UNTIL ANSWERS COMMAND [ARGUMENT …]

ANSWERS is a JSON list of pairs: after a text has appeared, the other text is typed. The command ends by itself, or is stopped by
SIGINT once the text UNTIL has appeared. The exit code is that of the command.
"""

import json
import os
import pty
import select
import signal
import sys
import time

until, answers, command = sys.argv[1].encode(), json.loads(sys.argv[2]), sys.argv[3:]
child, terminal = pty.fork()
if child == 0:
    os.execv(command[0], command)
seen, searched, is_stopped = b"", 0, False
deadline = time.monotonic() + 240
while time.monotonic() < deadline:
    if select.select([terminal], [], [], 0.5)[0]:
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:
            # The other end is closed.
            break
        if not data:
            break
        seen += data
    if answers and (place := seen.find(answers[0][0].encode(), searched)) >= 0:
        searched = place + len(answers[0][0].encode())
        os.write(terminal, answers.pop(0)[1].encode())
    if until and not is_stopped and until in seen:
        # Everything that belongs to the same moment.
        time.sleep(1)
        os.kill(child, signal.SIGINT)
        is_stopped = True
else:
    os.kill(child, signal.SIGKILL)
sys.stdout.buffer.write(seen)
sys.stdout.flush()
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
