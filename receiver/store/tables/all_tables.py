"""All tables over one connection."""

from receiver.store.tables.batch_rows import BatchRowTable
from receiver.store.tables.callbacks import CallbackTable
from receiver.store.tables.chains import ChainTable
from receiver.store.tables.clock import ClockTable
from receiver.store.tables.connection import TableConnection
from receiver.store.tables.gallery import GalleryTable
from receiver.store.tables.gates import GateTable
from receiver.store.tables.hours import HourTable
from receiver.store.tables.lanes import LaneTable
from receiver.store.tables.notices import NoticeTable
from receiver.store.tables.paces import PaceTable
from receiver.store.tables.picture_copies import PictureCopyTable
from receiver.store.tables.retention import RetentionQueries
from receiver.store.tables.sends import SendTable
from receiver.store.tables.sessions import SessionTable
from receiver.store.tables.spend import SpendTable
from receiver.store.tables.standing import StandingQueries
from receiver.store.tables.steps import StepTable
from receiver.store.tables.tasks import TaskTable


class AllTables:
    """The tables; made once for reading, and for each transaction."""

    def __init__(self, connection: TableConnection) -> None:
        self.connection = connection
        self.dialect = connection.dialect
        self.tasks = TaskTable(connection)
        self.callbacks = CallbackTable(connection)
        self.copies = PictureCopyTable(connection)
        self.notices = NoticeTable(connection)
        self.sends = SendTable(connection)
        self.pruning = RetentionQueries(connection)
        self.clock_checks = ClockTable(connection)
        self.lanes = LaneTable(connection)
        self.chains = ChainTable(connection)
        self.batch_rows = BatchRowTable(connection)
        self.spend = SpendTable(connection)
        self.gates = GateTable(connection)
        self.paces = PaceTable(connection)
        self.gallery = GalleryTable(connection)
        self.steps = StepTable(connection)
        self.sessions = SessionTable(connection)
        self.hours = HourTable(connection)
        self.standing = StandingQueries(connection)
