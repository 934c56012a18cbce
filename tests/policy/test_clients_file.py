"""Changes to a clients file leave all that was not meant as it was, on disk as in the text."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from threading import Thread

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.clients_file import change, with_client, with_token, without
from hadesgw.policy.credentials import ClientsError, Role, entry, parse_clients, token_entry

FILE = """\
# Our team.

# Alice of the third floor
[[client]]
name = "alice" # she
roles = ["user"]
tokens = [
  # the laptop
  { sha256 = "%(laptop)s" },
  { sha256 = '%(phone)s', expires = 2027-01-01T00:00:00Z },
]
burst = 7

# Bob is on leave
[[ client ]]   # but may come in
name = "bob"
roles = ["admin"]
tokens = [{ sha256 = "%(bob)s" }]

# Carl's badge
[[client]]
name = "carl"
roles = ["observer"]
certificate = "CN=carl"
# the end
"""


def digest(token: str) -> str:
    """What is stored of a token, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


TEXT = FILE % {name: digest(f"token of {name}") for name in ("laptop", "phone", "bob")}
DAVE = entry("dave", "token of dave", [Role.USER], None)


def names(text: str) -> list[str]:
    """The clients of a text."""
    return [client.name for client in parse_clients(text, "test").clients]


def tokens(text: str, name: str) -> list[str]:
    """The digests of a client."""
    client = parse_clients(text, "test").named(name)
    assert client is not None
    return [token.sha256.hex() for token in client.tokens]


class TextTests(SynchronousTestCase):
    """A change of the text is the change that was asked for."""

    def refused(self, expected: str, function: object, *arguments: object) -> None:
        """That the change is refused in one line that names the file."""
        error = self.assertRaises(ClientsError, function, *arguments)
        self.assertTrue(str(error).startswith("clients.toml: "))
        self.assertIn(expected, str(error))

    def test_a_client_is_appended(self) -> None:
        """Behind all others, which stay as they are to the letter."""
        text = with_client(TEXT, "clients.toml", DAVE)
        self.assertEqual(text, f"{TEXT}\n{DAVE}")
        self.assertEqual(names(text), ["alice", "bob", "carl", "dave"])

    def test_the_first_client_makes_the_file(self) -> None:
        """Also of a file that is nothing but white space."""
        for text in ("", "\n\n"):
            self.assertEqual(with_client(text, "clients.toml", DAVE), DAVE)

    def test_a_file_without_a_final_newline_is_appended_to(self) -> None:
        """A comment in its last line does not swallow the entry."""
        self.assertEqual(names(with_client(f"{TEXT}# end", "clients.toml", DAVE))[-1], "dave")

    def test_a_name_is_appended_once(self) -> None:
        """The error knows what was likely meant."""
        self.refused("--rotate", with_client, with_client(TEXT, "clients.toml", DAVE), "clients.toml", DAVE)

    def test_a_token_belongs_to_one_client(self) -> None:
        """A digest that is there already is not appended."""
        again = entry("dave", "token of bob", [Role.USER], None)
        self.refused("by hand", with_client, TEXT, "clients.toml", again)
        self.refused("by hand", with_token, TEXT, "clients.toml", "alice", token_entry("token of bob", None))

    def test_a_client_gets_a_further_token(self) -> None:
        """In front of those it has; all else stays to the letter."""
        for name in ("alice", "bob"):
            item = token_entry("token anew", None)
            text = with_token(TEXT, "clients.toml", name, item)
            self.assertEqual(tokens(text, name), [digest("token anew"), *tokens(TEXT, name)])
            self.assertEqual(text.replace(f"{item}, ", ""), TEXT)

    def test_a_client_with_a_certificate_gets_its_first_token(self) -> None:
        """The key is added where there is none."""
        text = with_token(TEXT, "clients.toml", "carl", token_entry("token anew", None))
        self.assertEqual(tokens(text, "carl"), [digest("token anew")])

    def test_one_token_is_taken_out(self) -> None:
        """Told by the beginning of its digest, however it is written."""
        laptop, phone = digest("token of laptop"), digest("token of phone")
        for gone, left in ((laptop, phone), (phone, laptop)):
            text = without(TEXT, "clients.toml", "alice", gone[:8])
            self.assertEqual(tokens(text, "alice"), [left])
            self.assertNotIn(gone, text)
            self.assertEqual(names(text), names(TEXT))
            self.assertIn("# the laptop", text)
        text = without(TEXT.replace(laptop, laptop.upper()), "clients.toml", "alice", laptop)
        self.assertEqual(tokens(text, "alice"), [phone])

    def test_a_client_is_taken_out(self) -> None:
        """With all its tokens, and with nothing of the others, their comments included."""
        text = without(TEXT, "clients.toml", "bob", None)
        self.assertEqual(names(text), ["alice", "carl"])
        self.assertIn("# Carl's badge\n[[client]]\n", text)
        start, end = TEXT.index("[[ client"), TEXT.index("# Carl's badge")
        self.assertEqual(text, TEXT[:start] + TEXT[end:])

    def test_first_and_last_are_taken_out_alike(self) -> None:
        """Down to the empty file."""
        text = TEXT
        for name, left in (("carl", ["alice", "bob"]), ("alice", ["bob"]), ("bob", [])):
            text = without(text, "clients.toml", name, None)
            self.assertEqual(names(text), left)
        self.assertTrue(text.startswith("# Our team."))
        self.assertTrue(text.endswith("# the end\n"))

    def test_a_client_goes_with_its_last_token(self) -> None:
        """It could not come in any more; with a certificate it can, and stays."""
        self.assertEqual(names(without(TEXT, "clients.toml", "bob", digest("token of bob"))), ["alice", "carl"])
        text = with_token(TEXT, "clients.toml", "carl", token_entry("token anew", None))
        text = without(text, "clients.toml", "carl", digest("token anew")[:6])
        self.assertEqual((names(text), tokens(text, "carl")), (names(TEXT), []))

    def test_a_prefix_must_mean_one_token(self) -> None:
        """None and several are refused, with their number."""
        self.refused("there are 0", without, TEXT, "clients.toml", "bob", "0" * 64)
        self.refused("there are 2", without, TEXT, "clients.toml", "alice", "")
        self.refused("there are 0", without, TEXT, "clients.toml", "carl", "a")

    def test_nobody_cannot_be_changed(self) -> None:
        """A name that is not in the file is named in the error."""
        self.refused("a client named eve", without, TEXT, "clients.toml", "eve", None)
        self.refused("a client named eve", with_token, TEXT, "clients.toml", "eve", token_entry("token anew", None))

    def test_an_unusual_file_is_left_to_its_author(self) -> None:
        """Forms we do not write are valid, and refused rather than damaged."""
        listed = f'client = [{{ name = "a", roles = ["user"], tokens = [{{ sha256 = "{digest("token of a")}" }}] }}]'
        subtables = '[[client]]\nname = "a"\nroles = ["user"]\n' + "".join(
            f'[[client.tokens]]\nsha256 = "{digest(token)}"\n' for token in ("token of a", "token of b")
        )
        self.refused("by hand", with_client, listed, "clients.toml", DAVE)
        self.refused("by hand", without, listed, "clients.toml", "a", None)
        self.refused("by hand", without, subtables, "clients.toml", "a", digest("token of a"))
        self.refused("by hand", with_token, subtables, "clients.toml", "a", token_entry("token anew", None))
        self.assertEqual(names(without(subtables, "clients.toml", "a", None)), [])

    def test_a_broken_file_is_not_changed(self) -> None:
        """It is refused for what is wrong in it."""
        self.refused("line 2", with_client, "\nclient = ", "clients.toml", DAVE)
        self.refused("line 2", without, "\nclient = ", "clients.toml", "alice", None)

    def test_line_ends_of_other_systems_stay(self) -> None:
        """A file from Windows is changed as any other."""
        text = without(TEXT.replace("\n", "\r\n"), "clients.toml", "alice", digest("token of phone"))
        self.assertEqual(tokens(text, "alice"), [digest("token of laptop")])
        self.assertEqual(names(without(text, "clients.toml", "bob", None)), ["alice", "carl"])

    @settings(max_examples=30)  # each step reads the file twice, and that tries all guessable tokens
    @given(
        st.lists(st.tuples(st.sampled_from(["add", "rotate", "revoke", "drop"]), st.sampled_from("abc")), max_size=6)
    )
    def test_any_sequence_of_changes_leaves_what_was_asked_for(self, steps: list[tuple[str, str]]) -> None:
        """The file says in the end what a plain dictionary says."""
        text = ""
        model: dict[str, list[str]] = {}
        for number, (step, name) in enumerate(steps):
            token = f"token number {number}"
            if step == "add" and name not in model:
                text = with_client(text, "test", entry(name, token, [Role.USER], None))
                model[name] = [digest(token)]
            elif step == "rotate" and name in model:
                text = with_token(text, "test", name, token_entry(token, None))
                model[name].insert(0, digest(token))
            elif step == "revoke" and name in model:
                text = without(text, "test", name, model[name].pop())
                if not model[name]:
                    del model[name]
            elif step == "drop" and name in model:
                text = without(text, "test", name, None)
                del model[name]
        found = parse_clients(text, "test").clients
        self.assertEqual({client.name: [token.sha256.hex() for token in client.tokens] for client in found}, model)


class FileTests(SynchronousTestCase):
    """`change` replaces the file at once or not at all."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "clients.toml"

    def write(self, text: str) -> None:
        """Put an owner's file there."""
        self.path.write_text(text)
        self.path.chmod(0o600)

    def test_a_missing_file_is_made_for_its_owner_alone(self) -> None:
        """If that was asked for."""
        change(str(self.path), lambda text: f"[{text}]", create=True)
        self.assertEqual(self.path.read_text(), "[]")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_a_missing_file_stays_missing_otherwise(self) -> None:
        """And so it does when the change fails."""
        self.assertRaises(ClientsError, change, str(self.path), lambda text: text, create=False)
        self.assertRaises(ZeroDivisionError, change, str(self.path), lambda text: str(1 / 0), create=True)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_a_changed_file_keeps_its_mode(self) -> None:
        """A file its owner meant to be read-only stays so."""
        self.write("a")
        self.path.chmod(0o400)
        change(str(self.path), lambda text: f"{text}b", create=False)
        self.assertEqual(self.path.read_text(), "ab")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o400)

    def test_a_failed_change_leaves_the_old_file_and_nothing_else(self) -> None:
        """Even when it fails at writing."""
        self.write("a")
        self.assertRaises(UnicodeEncodeError, change, str(self.path), lambda text: "\ud800", create=False)
        self.assertEqual(self.path.read_text(), "a")
        self.assertEqual(list(self.folder.iterdir()), [self.path])

    def test_a_file_that_others_may_read_is_not_changed(self) -> None:
        """Its owner is told first."""
        self.write("a")
        self.path.chmod(0o644)
        error = self.assertRaises(ClientsError, change, str(self.path), lambda text: "b", create=True)
        self.assertIn("chmod 600", str(error))
        self.assertEqual(self.path.read_text(), "a")

    def test_a_link_stays_a_link(self) -> None:
        """The file behind it is changed, or made where it points."""
        link = self.folder / "link"
        link.symlink_to("clients.toml")
        change(str(link), lambda text: "a", create=True)
        change(str(link), lambda text: f"{text}b", create=False)
        self.assertTrue(link.is_symlink())
        self.assertEqual(self.path.read_text(), "ab")

    def test_line_ends_are_kept(self) -> None:
        """No byte changes that was not meant to."""
        self.write("")
        self.path.write_bytes("ä\r\nb\n".encode())
        change(str(self.path), lambda text: f"{text}c", create=False)
        self.assertEqual(self.path.read_bytes(), "ä\r\nb\nc".encode())

    def test_changes_at_one_time_wait_for_each_other(self) -> None:
        """None is lost."""
        self.write("")
        threads = [Thread(target=change, args=(str(self.path), lambda text: f"{text}x", False)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.path.read_text(), "x" * 8)

    def test_a_missing_folder_is_an_error_of_the_system(self) -> None:
        """It carries the folder's name."""
        path = str(self.folder / "missing" / "clients.toml")
        error = self.assertRaises(FileNotFoundError, change, path, lambda text: text, create=True)
        self.assertIn("missing", str(error))
