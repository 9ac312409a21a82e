"""The words of the demonstration clinic: names, goals, tasks, reasons. All of them invented."""

GIVEN_NAMES = (
    "Amira", "Jonas", "Thandiwe", "Mateo", "Yuki", "Lena", "Rohan", "Beatriz", "Kwame", "Ingrid",
    "Farid", "Hannah", "Nikolai", "Siobhan", "Duc", "Aylin", "Gabriel", "Noor", "Oskar", "Leilani",
    "Tomasz", "Zainab", "Emil", "Priya", "Luca", "Marisol", "Kofi", "Freya", "Hiroshi", "Carmen",
    "Sami", "Agnieszka", "Dante", "Esther", "Viktor", "Meera", "Elif", "Paul", "Chidi", "Ronja",
    "Isaac", "Valentina", "Arjun", "Klara", "Tariq", "Nadia", "Felix", "Ximena", "Bilal", "Greta",
)  # fmt: skip

FAMILY_NAMES = (
    "Haddad", "Lindqvist", "Dlamini", "Fernández", "Tanaka", "Brandt", "Kapoor", "Oliveira",
    "Mensah", "Nygård", "Rahimi", "Weiss", "Petrov", "Gallagher", "Nguyễn", "Yıldız", "Moreau",
    "Al-Masri", "Keller", "Kahale", "Wójcik", "Bello", "Sørensen", "Iyer", "Bianchi", "Quispe",
    "Asante", "Hartmann", "Sato", "Navarro", "Demir", "Kowalska", "Rossi", "Cohen", "Ivanova",
    "Nair", "Schuster", "Okafor", "Berg", "Levy", "Castillo", "Rao", "Novák", "Siddiqui", "Popescu",
    "Vogel", "Marín", "Chaudhry", "Ruiz", "Eriksson",
)  # fmt: skip

MODALITIES = (
    "cognitive behavioural therapy",
    "psychodynamic therapy",
    "emotion-focused therapy",
    "systemic therapy",
    "integrative therapy",
)

GOALS = (
    "Ride the underground again without leaving at the next stop.",
    "Sleep through at least five nights of the week.",
    "Say no at work when a task is one too many.",
    "Meet a friend once a week, also in weeks that feel heavy.",
    "Speak about my father without going silent.",
    "Eat three meals a day and not skip the evening one.",
    "Finish the application and send it off.",
    "Get through a disagreement without leaving the room.",
    "Notice the first signs of panic and stay with them.",
    "Play music again, twice a week, for nobody but me.",
    "Drive the car on the motorway alone.",
    "Let my partner help when I am ill.",
)

REWORDED = "In other words, after talking it over: {goal}"

LEVELS = (
    "It is as hard as when we began.",
    "It works in some weeks, with help.",
    "It works in most weeks, without help.",
    "It works in every week.",
    "It is no longer anything to think about.",
)

TASKS = (
    "Keep a diary of the moments in which the tension rises.",
    "Practise the breathing exercise twice a day.",
    "Write the letter that will not be sent.",
    "Go one stop further than last week.",
    "Ask one colleague for help.",
    "Plan one pleasant hour for the weekend, and keep to it.",
    "Rehearse the conversation with an empty chair.",
    "Turn off the screens an hour before going to bed.",
)

REMARKS = (
    "Easier than expected.",
    "Only on three days; the week was full.",
    "It brought up a lot, good to have it written down.",
    "Not yet.",
)

ABSENCES = (
    "Ill with a cold.",
    "Overslept after a night shift.",
    "The train was cancelled.",
    "Forgot the appointment; called the day after.",
    "No message; reached by telephone in the evening.",
)

CANCELLATIONS = (
    "A child fell ill.",
    "Travelling for work.",
    "The therapist is ill.",
    "An appointment at an office that could not be moved.",
)

LATE_REASONS = (
    "The computer was down that afternoon; entered from the paper notes.",
    "Entered after returning from an emergency on the ward.",
    "The paper form lay in the wrong folder until today.",
    "Home visit without a connection; entered at the clinic.",
)

SUPERSEDING_REASON = "Two answers were read off the paper form in the wrong line."
MISFILED_REASON = "Entered for the wrong session; it belongs to the one before."
TIMES_REASON = "The session went on for ten minutes longer than was entered."
WORDING_REASON = "A word of the task was mistyped."

CLOSINGS = (
    "The goals that mattered are reached; ended as planned.",
    "Ended by agreement after the planned number of sessions.",
    "The client moves to another city.",
)

DROPPED_OUT = "Did not come back after a difficult stretch; three letters were not answered."
TRANSFER_REASON = "The therapist goes on parental leave."
REOPENING_REASON = "Asked to come again after a loss in the family."
WITHDRAWAL_REASON = "Does not want to go on with the treatment."

DOCUMENTS = {
    "treatment": "Information on psychotherapy, on the measures used, and on how we keep records",
    "supervision": "Information on supervision and on recordings of sessions",
    "telehealth": "Information on sessions by video and telephone",
}

# --- What stands around the sessions --------------------------------------------------------

FRAME = (
    ("place", "The practice at the Old Mill, first floor."),
    ("time", "The agreed hour of the week, always the same."),
    ("length", "Fifty minutes."),
    ("frequency", "Once a week, every other week in the last third."),
    ("fee", "As agreed with the insurance; missed hours are paid from the second one on."),
    ("cancellation", "Until the day before, by telephone."),
    ("contact_between_sessions", "A short call for appointments, no messages at night."),
    ("emergencies", "The crisis line of the town; then the practice on the next day."),
    ("confidentiality_limits", "Danger to oneself or others; otherwise nobody learns of it."),
)

NEW_FEE = "As agreed with the insurance; missed hours are paid from the first one on."
FEE_REASON = "The practice has changed this for everybody."

DEPARTURES = {
    "length": "Went on for a quarter of an hour; it could not be broken off there.",
    "contact_between_sessions": "Two calls in one night, both answered.",
}

PHASES = (
    (1, "assessment", "Getting to know each other and what it is about."),
    (7, "working through", "The goals are clear, and the work is on them."),
    (18, "ending", "The last sessions are for parting and for what comes after."),
)

CONTEXTS = (
    (0, 15, "illness", "person", "Ill for weeks, with fever; sleeps badly since."),
    (1, 6, "bereavement", "person", "The grandmother, with whom the client grew up, has died."),
    (2, 10, "birth", "relationship", "A second child is born."),
    (8, 12, "war", "world", "War has broken out where half of the family lives."),
    (12, 9, "migration", "person", "The residence permit is in doubt."),
)
"""By relationship and session: what reached into the room, and whose it was."""

STRAINED = {
    "withdrawal": "I said yes to everything and was somewhere else.",
    "confrontation": "I did not see what this exercise was for, and said so.",
}
RESOLVED = {
    "client": "We talked about it, and I was taken seriously.",
    "therapist": "It could be named by both, and the work went on from there.",
}
LEFT_OPEN = "It was talked about; it is not gone."
DISMISSED = "Looked at it together: three nights on call before that session."

MOMENTS_CLIENT = (
    (412, "Here I wanted to say no and laughed instead."),
    (1_305, "I thought: she has not heard what I said."),
    (2_240, "This was the first time that I breathed."),
)
MOMENTS_THERAPIST = (
    (1_298, "I was in a hurry to get to the exercise."),
    (1_610, "Here I notice that the answers get short."),
)

# --- Notes ----------------------------------------------------------------------------------

NOTES = (
    "Slept better; the week had two heavy evenings. Came with the diary filled in.",
    "Speaks quietly and at length of the quarrel at work. Returns twice to the father.",
    "Arrived late, out of breath; needed time to settle. Then very present.",
    "Tells of a journey by underground, three stops, with some pride.",
    "Long silences. Says that it is hard to begin today.",
)
PLANS = (
    "Go on with the task; look at the evenings next time.",
    "Return to what was left open today.",
    "Prepare the next step together; no new task.",
)
ADDENDUM = "Left out above: the dose was lowered by the family doctor in this week."
STRUCK = "Written into the wrong record; it belongs to another client."
SUMMARY = "We said what brings you here, and what we want to look at first."
PROCESS = (
    "Something in the room grew cold when I asked. I do not know yet what it was.",
    "I hurry when there is silence. Whose hurry is that?",
)
STIRRED = "I catch myself looking forward to the end of this hour, and being too kind instead."
ACTIONS = (
    "Ask openly how the last session was, before anything else.",
    "Listen to the recording of the session before next time.",
    "Name the shortness of the answers when it comes up again.",
)
ACTION_REMARKS = ("Done, and talked about.", "Begun; goes on for three more weeks.")

# --- Risk and care of the record ------------------------------------------------------------

RISK_FOUND = "Thoughts without intent or plan; clear distance from them in the conversation."
RISK_DONE = "Crisis plan gone through; call agreed for the day after tomorrow."

AMENDMENT = "That I came in time, and waited outside."
AMENDMENT_REASON = "The note says that I was late. I was not."
AMENDED = "The client was there in time and waited; the session began late."
DENIED = "The note tells what was said in the session, and says so."
DISAGREES = "It may have been said. It was still not like that."
RESTRICTED = "The health plan is told nothing beyond the invoices: paid out of pocket."
EMERGENCY = "Called in at night by the crisis line; the therapist could not be reached."
EMERGENCY_REVIEWED = "On call that night, as the roster says; read the crisis plan only."

DESTROYED = "The client took the consent back during the session."
MINOR_SAYS_NO = "I do not want to be recorded."
