"""Run programs: their output, how they end, what is missing; a shell beside; a look inside."""

import subprocess

import pycontainer as pc

HOST = pc.host_system()  # the host's programs, read-only

# The habits of subprocess.run: input, output, text, timeout, check.
done = pc.run_command([HOST], ["tr", "a-z", "A-Z"], input="hello\n", stdout=pc.PIPE, text=True)
print(done.stdout, end="")
try:
    pc.run_command([HOST], ["sh", "-c", "echo oh no >&2; exit 3"], check=True, stderr=pc.PIPE)
except subprocess.CalledProcessError as error:
    print("exit status", error.returncode, error.stderr)
try:
    pc.run_command([HOST], ["sh", "-c", "sleep 60 & sleep 60"], timeout=0.2)
except subprocess.TimeoutExpired as error:
    print("nothing is left of it after", error.timeout, "s")

# What cannot be executed is an OSError that says why.
script = pc.file("/tool", "#!/opt/ruby/bin/ruby\n", mode=0o755)
try:
    pc.run_command([HOST, script], ["/tool"])
except FileNotFoundError as error:
    print(error.strerror)

# The habits of Popen: a program that is talked to while it runs, and another one beside it.
with pc.start_command([HOST], ["cat"], stdin=pc.PIPE, stdout=pc.PIPE, text=True) as running:
    assert running.stdout is not None
    print("a line", file=running.stdin)
    print("back comes", running.stdout.readline(), end="")
    names = pc.exec_command(running, ["ps", "-eo", "comm="], stdout=pc.PIPE, text=True).stdout
    print("in there are", names.split())
