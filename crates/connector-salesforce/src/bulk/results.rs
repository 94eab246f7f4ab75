//! The answers of a job that has ended.

use super::job::{Job, Jobs, State};
use super::life::unprocessed;
use super::outcomes::{Hit, Match, Outcome, Outcomes, ResultFile};
use crate::errors::table;
use crate::faults;
use contract::{RowError, RowResult, SinkError};
use model::ErrorClass;

/// An ended job and what was read of its results so far.
pub(crate) struct Results {
    pub job: Job,
    by: Match,
    outcomes: Outcomes,
    /// Which files were read.
    read: [bool; 3],
}

const FILES: [ResultFile; 3] = [ResultFile::Successful, ResultFile::Failed, ResultFile::Unprocessed];

impl Results {
    /// Begins with nothing read.
    pub fn new(job: Job, by: Match) -> Self {
        Self { job, by, outcomes: Outcomes::default(), read: [false; 3] }
    }

    /// Reads the files that rows of these prints need, as far as they were not read yet: those that the job's counts say to
    /// have lines, and the others while a row is missing.
    ///
    /// # Errors
    /// `SinkError`; what was read stays read.
    pub async fn read_for(&mut self, jobs: &Jobs<'_>, prints: &[u128], calls: &mut u32) -> Result<(), SinkError> {
        for counted in [true, false] {
            for (at, file) in FILES.into_iter().enumerate() {
                let wanted = if counted { self.lines_of(file) > 0 } else { self.lacks(prints) };
                if self.read[at] || !wanted || (!counted && !self.may_hold(file)) {
                    continue;
                }
                let lines = self.whole_file(jobs, file, calls).await?;
                self.outcomes.add(lines);
                self.read[at] = true;
            }
        }
        Ok(())
    }

    /// Reads a file, once more when it has fewer lines than the job says.
    async fn whole_file(
        &self,
        jobs: &Jobs<'_>,
        file: ResultFile,
        calls: &mut u32,
    ) -> Result<Vec<(u128, Outcome)>, SinkError> {
        let (lines, whole) = jobs.results(&self.job.id, file, &self.by, calls).await?;
        if whole && lines.len() as u64 >= self.lines_of(file) {
            return Ok(lines);
        }
        tracing::warn!(job = self.job.id, file = file.path(), lines = lines.len(), "the results break off; read again");
        let (again, _) = jobs.results(&self.job.id, file, &self.by, calls).await?;
        Ok(if again.len() > lines.len() { again } else { lines })
    }

    /// Lines that a file has by the job's counts.
    fn lines_of(&self, file: ResultFile) -> u64 {
        match file {
            ResultFile::Successful => self.job.processed.saturating_sub(self.job.failed),
            ResultFile::Failed => self.job.failed,
            ResultFile::Unprocessed => 0,
        }
    }

    /// A job that came to no row by its counts may have applied some for all that, unless its file was refused as a whole;
    /// then the successful rows tell. Rows that were not processed need not be read to be known.
    fn may_hold(&self, file: ResultFile) -> bool {
        let refused = self.job.error_message.as_deref().is_some_and(is_about_the_file);
        !self.came_to_nothing() || file == ResultFile::Successful && !refused
    }

    fn lacks(&self, prints: &[u128]) -> bool {
        prints.iter().any(|print| !self.outcomes.has(*print))
    }

    /// True when the job ended before its first row, as far as is known.
    pub fn came_to_nothing(&self) -> bool {
        let counts_nothing = self.job.processed == 0 && self.job.failed == 0;
        counts_nothing && self.job.state != State::JobComplete && self.outcomes.is_empty()
    }

    /// Finds a row's line.
    pub fn find(&mut self, print: u128) -> Hit {
        self.outcomes.find(print, &self.by)
    }

    /// About the bytes of memory.
    pub fn bytes(&self) -> usize {
        self.outcomes.bytes()
    }

    /// Tells what became of a row that was in the file.
    pub fn answer(&mut self, print: u128) -> RowResult {
        match self.find(print) {
            Hit::One(Outcome::Applied { id, created }) => {
                RowResult::Applied { id: (!id.is_empty()).then_some(id), created }
            }
            Hit::One(Outcome::Failed(error)) => RowResult::Failed(error),
            Hit::One(Outcome::Unprocessed) => self.not_reached(),
            Hit::Nothing if self.came_to_nothing() => self.not_reached(),
            Hit::Nothing => unanswered("no result of the job names the row"),
            Hit::Several => unanswered("the job has several results for the row"),
        }
    }

    /// The answer of a row that was not applied since the job as a whole ended early: by the job's own error where it says
    /// what is wrong with the file.
    fn not_reached(&self) -> RowResult {
        let message = self.job.error_message.as_deref().unwrap_or_default();
        if let Some((_, field)) = message.split_once("Field name not found : ") {
            // What Collections says of the same row: a field that is not there, or that the user may not see.
            return RowResult::Failed(RowError {
                class: ErrorClass::Permanent,
                code: "INVALID_FIELD".into(),
                message: message.to_owned(),
                fields: vec![field.trim().to_owned()],
            });
        }
        let word = if self.job.state == State::Aborted { "was aborted" } else { "failed" };
        unprocessed(class_of(message), &format!("the job {word} before its turn came: {message}"))
    }
}

fn unanswered(message: &str) -> RowResult {
    let code = faults::ROW_UNANSWERED.to_owned();
    RowResult::Failed(RowError { class: ErrorClass::Unknown, code, message: message.to_owned(), fields: Vec::new() })
}

/// True for an error that refuses a file before any of its rows is looked at.
fn is_about_the_file(message: &str) -> bool {
    message.starts_with("InvalidBatch") || message.starts_with("ClientInputError")
}

/// The class of the error of a job as a whole.
fn class_of(message: &str) -> ErrorClass {
    let known = table::classify("", message).class;
    match () {
        () if known == ErrorClass::Lock || message.contains("TooManyLockFailure") => ErrorClass::Lock,
        () if message.contains("Limit exceeded") => ErrorClass::Quota,
        () if is_about_the_file(message) => ErrorClass::Permanent,
        () => ErrorClass::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_own_error_tells_what_to_do_with_its_rows() {
        assert_eq!(class_of("InvalidBatch : Field name is duplicated : X"), ErrorClass::Permanent);
        assert_eq!(class_of("ApiBatchItems Limit exceeded."), ErrorClass::Quota);
        assert_eq!(class_of("TooManyLockFailure : 20 tries"), ErrorClass::Lock);
        assert_eq!(class_of("InternalServerError : retries"), ErrorClass::Transient);
        let error_message = Some("InvalidBatch : Field name not found : Gone__c".to_owned());
        let job = Job { state: State::Failed, error_message, ..Job::default() };
        let mut results = Results::new(job, Match::WholeRow);
        let RowResult::Failed(error) = results.answer(1) else { panic!() };
        assert_eq!(
            (error.code.as_str(), error.fields.as_slice()),
            ("INVALID_FIELD", ["Gone__c".to_owned()].as_slice())
        );
    }
}
