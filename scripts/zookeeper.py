"""One ZooKeeper server in the background, for a cluster on this machine.

It is `java` on the jars of Debian's package `zookeeper`, or on those of an unpacked distribution that `ZOOKEEPER_HOME`
names. If neither is there and the user may, the package is installed. The server listens on 127.0.0.1 alone, on the
first free port from 2181, and keeps everything in the directory that it is given. It is a single one, for trying things
out: a real cluster wants an ensemble of three.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from processes import RUN, Process, Refusal, spawn, until

PORT_FIRST = 2181
PORT_LAST = 2280
START_SECONDS = 60.0
STOP_SECONDS = 15.0

DEBIAN_JAR = Path("/usr/share/java/zookeeper.jar")
_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_ELSEWHERE = "or unpack a distribution of Apache ZooKeeper and name it with ZOOKEEPER_HOME"


@dataclass
class ZooKeeper(Process):
    """A server that was started here, as its record tells."""

    port: int

    @property
    def address(self) -> str:
        """Returns where it is: "host:port"."""
        return f"127.0.0.1:{self.port}"

    def serves(self) -> bool:
        """Says whether it answers that it serves, it and not another that has come to its port first."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                connection.sendall(b"conf")
                answer = b"".join(iter(lambda: connection.recv(4096), b""))
        except OSError:
            return False
        return f"dataDir={Path(self.log).parent}/data/".encode() in answer


def running(directory: Path) -> ZooKeeper | None:
    """Returns the server whose directory this is, None if none runs."""
    try:
        server = ZooKeeper(**json.loads(_record(directory).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return server if server.is_alive() else None


def start(directory: Path) -> ZooKeeper:
    """Starts a server, with what the directory had, and waits until it serves.

    Raises: Refusal, and then nothing is left of it.
    """
    java, class_path = _java(), _class_path()
    (directory / "data").mkdir(parents=True, exist_ok=True)
    port = _free_port()
    (directory / "zoo.cfg").write_text(
        f"dataDir={directory}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\ntickTime=500\n"
        "minSessionTimeout=1000\nmaxSessionTimeout=600000\nmaxClientCnxns=0\nadmin.enableServer=false\n"
        "autopurge.snapRetainCount=3\nautopurge.purgeInterval=1\n4lw.commands.whitelist=conf,srvr,ruok,mntr\n"
    )
    options = ["-Xmx256m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    command = [java, *options, "-cp", class_path, _CLASS, str(directory / "zoo.cfg")]
    server = ZooKeeper(**asdict(spawn(command, directory / "zookeeper.log", os.environ)), port=port)
    try:
        _record(directory).write_text(json.dumps(asdict(server), indent=2) + "\n")

        def serves() -> bool:
            if not server.is_alive():
                raise Refusal(f"ZooKeeper did not start: {_last_line(Path(server.log))} (log: {server.log})")
            return server.serves()

        if not until(serves, START_SECONDS):
            raise Refusal(f"ZooKeeper did not serve within {START_SECONDS:.0f} s (log: {server.log})")
    except BaseException:
        stop(directory)
        raise
    return server


def stop(directory: Path) -> ZooKeeper | None:
    """Ends the server, if one runs, and returns it."""
    server = running(directory)
    if server is not None and not server.end(signal.SIGTERM, STOP_SECONDS):
        server.end(signal.SIGKILL, STOP_SECONDS)
    _record(directory).unlink(missing_ok=True)
    return server


def _record(directory: Path) -> Path:
    return directory / "process.json"


def _java() -> str:
    home = os.environ.get("JAVA_HOME", "")
    found = shutil.which("java", path=f"{home}/bin") if home else None
    return found or shutil.which("java") or _install("java") or _missing("java")


def _class_path() -> str:
    """Returns where java finds ZooKeeper. Raises: Refusal that says what to install."""
    home = os.environ.get("ZOOKEEPER_HOME", "")
    if home:
        if not list(Path(home, "lib").glob("zookeeper-*.jar")):
            raise Refusal(f"ZOOKEEPER_HOME is {home}, and there is no lib/zookeeper-….jar in it")
        return f"{home}/lib/*:{home}/conf"
    if not DEBIAN_JAR.exists():
        _install("zookeeper")
    if not DEBIAN_JAR.exists():
        _missing("ZooKeeper")
    return f"{DEBIAN_JAR}:{DEBIAN_JAR.with_name('slf4j-simple.jar')}"


def _install(what: str) -> str | None:
    """Installs Debian's package if that is possible here, and returns where java is then."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    print(f"Installing Debian's package zookeeper, since {what} is missing …", flush=True)
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    orders = (["update"], ["install", "--yes", "--no-install-recommends", "zookeeper"])
    with (RUN / "apt.log").open("wb") as log:
        for order in orders:
            done = subprocess.run(["apt-get", *order], stdout=log, stderr=log, env=environ, check=False)  # noqa: S607
    if done.returncode != 0:
        raise Refusal(f"apt-get could not install zookeeper: {_last_line(RUN / 'apt.log')} (log: {RUN / 'apt.log'})")
    return shutil.which("java")


def _missing(what: str) -> str:
    raise Refusal(f"{what} is not installed; on Debian and Ubuntu: sudo apt-get install zookeeper; {_ELSEWHERE}")


def _free_port() -> int:
    for port in range(PORT_FIRST, PORT_LAST + 1):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise Refusal(f"all ports from {PORT_FIRST} to {PORT_LAST} are taken")


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
